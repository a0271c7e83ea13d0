"""Where in its ranking each query meets its matches, over sets that are spread over processes.

The owner of a match scores it. All processes count the impostors that they hold and that rank
before the match. The counts add up to ranks. The nearest matches and the nearest impostors together
are the nearest references.
"""

from typing import NamedTuple

import torch
from jaxtyping import Float64, Int64
from torch import Tensor

from ..search.impostors import FINE, Counts, compare_impostors
from ..search.inputs import row_norms
from ..search.neighbors import Neighbors
from ..search.pairs import order_pairs, pairs_with_sorted, place_in_query
from ..search.placing import Matches
from ..search.products import Sides
from ..search.scoring import Distance, cross_similarities, pair_similarity
from ..search.windows import Survey
from .matches import MatchRanks
from .nearest import NearestReferences, Winners
from .spread_sets import Samples, SpreadSets

_MATCHES = 2**20  # that are ranked at once
_MANY_PAIRS = 1024  # of one label, from which on it is worth scoring them together
_GROUP_PAIRS = 2**17  # that are scored together, so that all threads have some
_BINS = 257  # a prime, so that no common similarity, such as 0 or 0.5, is the edge of a bin


class SimilarityHistogram(NamedTuple):
    """Counts of all pairs of a query and a reference, by their similarity.

    A bin holds its lower edge; the last one holds its upper edge, too.

    Attributes:
        edges: of the bins, ascending in equal steps.
        same: pairs of one identity.
        different: pairs of two identities.
    """

    edges: Float64[Tensor, " B+1"]
    same: Int64[Tensor, " B"]
    different: Int64[Tensor, " B"]


class Ranking(NamedTuple):
    """What one pass over all pairs tells of the queries.

    Attributes:
        nearest: the k nearest references.
        matches: the references of each query's identity.
        impostor_similarity: greatest similarity to a reference of another identity; `-inf` where
            there is none.
        histogram: of the similarities of all pairs.
        survey: of the similarities of all pairs of two identities.
    """

    nearest: NearestReferences
    matches: MatchRanks
    impostor_similarity: Float64[Tensor, " Q"]
    histogram: SimilarityHistogram
    survey: Survey


@torch.no_grad()
def rank_references(
    sets: SpreadSets, *, k: int, distance: Distance, leave_one_out: bool
) -> Ranking:
    """Find the nearest references, rank all matches, and count similarities in bins.

    The bins span the range that the norms of the embeddings allow: [-1, 1] for cosine, [-a, a] with
    a = max|q| max|r| for inner product, [-(max|q| + max|r|)^2, 0] for euclidean.

    Args:
        sets: queries and references.
        k: number of nearest references.
        distance: what to rank by.
        leave_one_out: whether the reference with a query's index is the query itself.

    Returns:
        The same on every process, the queries in ascending order of index.

    Raises:
        ValueError: on every process, for embeddings that have no similarity.
    """
    low, high = _similarity_range(sets, distance)
    device = sets.query_index.device
    edges = torch.linspace(low, high, _BINS + 1, dtype=torch.float64, device=device)
    most = int(sets.matches().max())
    nearest, matches, impostor_similarity, tolerance = [], [], [], edges.new_zeros(())
    same, different = sets.query_index.new_zeros((2, _BINS))
    fine = sets.query_index.new_zeros(_BINS * FINE + 1)  # the last one for what lies above
    for query in sets.queries(max(_MATCHES // (most + 1), 1)):
        found, camera = _find_matches(query, sets, distance, leave_one_out)
        counts, impostors = _compare_impostors(query, sets, found, edges, k, distance)
        nearest.append(impostors.merge(_nearest_of(found, query, k)))
        matches.append(_rank(found, camera, query, counts.before))
        impostor_similarity.append(impostors.neighbors.similarity[:, 0])
        bins = torch.bucketize(found.similarity, edges[1:-1], right=True)
        same += torch.bincount(bins, minlength=_BINS)
        different += counts.histogram
        fine[:-1] += counts.fine
        tolerance = torch.maximum(tolerance, counts.tolerance)
    order = sets.query_index.argsort()
    return Ranking(
        NearestReferences.of(sets, nearest),
        MatchRanks.join(matches).reordered(order),
        torch.cat(impostor_similarity)[order],
        SimilarityHistogram(edges, same, different),
        Survey.sum_up((low, high), fine, float(tolerance)),
    )


def _rank(matches: Matches, camera: Tensor, query: Samples, before: Tensor) -> MatchRanks:
    """Rank the matches of a block of queries, given how many impostors are before each."""
    count = torch.bincount(matches.query, minlength=len(query.index))
    rank = place_in_query(count) + 1 + before
    is_own_camera = camera == query.camera.index_select(0, matches.query)
    return MatchRanks(count, rank, matches.similarity, is_own_camera)


def _nearest_of(matches: Matches, query: Samples, k: int) -> Winners:
    """Return the nearest matches of a block of queries."""
    found = Neighbors.of_pairs(*matches, len(query.index), k)
    return Winners(found, query.label[:, None].where(found.index >= 0, -1))


def _compare_impostors(
    query: Samples,
    sets: SpreadSets,
    matches: Matches,
    edges: Tensor,
    k: int,
    distance: Distance,
) -> tuple[Counts, Winners]:
    """Compare a block of queries with the impostors of all processes; also find the k nearest."""

    def compare_here() -> tuple[Counts, Winners]:
        total = Counts(
            torch.zeros_like(matches.index),
            matches.index.new_zeros(_BINS),
            matches.index.new_zeros(_BINS * FINE),
            edges.new_zeros(()),
        )
        nearest = Winners.nothing(len(query.index), k, edges.device)
        for reference in sets.references():
            sides = Sides(query.embedding, query.label, reference.embedding, reference.label)
            counts, found = compare_impostors(
                sides, reference.index, matches, edges, k=k, distance=distance
            )
            total, nearest = total.plus(counts), nearest.merge(Winners.among(reference, found))
            del sides, reference  # before the next block is made
        return total, nearest

    counts, nearest = sets.processes.attempt(compare_here)
    total = Counts(
        sets.processes.total(counts.before),
        sets.processes.total(counts.histogram),
        sets.processes.total(counts.fine),
        sets.processes.stack(counts.tolerance).amax(dim=0),
    )
    return total, nearest.of_all(sets.processes)


def _find_matches(
    query: Samples, sets: SpreadSets, distance: Distance, leave_one_out: bool
) -> tuple[Matches, Tensor]:
    """Score the references of each query's identity on all processes; also return their cameras."""

    def find_here() -> Tensor:
        parts = [query.index.new_empty((4, 0))]
        for reference in sets.references():
            i, j, similarity = _score_equals(query, reference, distance)
            if leave_one_out:
                is_other = query.index[i] != reference.index[j]
                i, j, similarity = i[is_other], j[is_other], similarity[is_other]
            index, camera = (of.index_select(0, j) for of in (reference.index, reference.camera))
            parts.append(torch.stack([i, index, camera, similarity.view(torch.int64)]))
            del reference  # before the next block is made
        return torch.cat(parts, dim=1)

    found = sets.processes.ragged(sets.processes.attempt(find_here).T)
    i, index, camera, bits = torch.cat([rows.T for rows in found], dim=1)
    similarity = bits.view(torch.float64)
    order = order_pairs(i, similarity, index)
    fields = (i, similarity, index, camera)
    *match, camera = (field.index_select(0, order) for field in fields)
    return Matches(*match), camera


def _score_equals(
    query: Samples, reference: Samples, distance: Distance
) -> tuple[Tensor, Tensor, Tensor]:
    """Find all pairs of positions that have the same label, in any order, and their similarity."""
    labels, queries = query.label.unique(return_counts=True)
    by_label = reference.label.sort(stable=True)
    label, column = pairs_with_sorted(labels, *by_label)
    references = torch.bincount(label, minlength=len(labels))
    if int((queries * references).sum()) < _MANY_PAIRS * len(labels):
        i, j = pairs_with_sorted(query.label, *by_label)
        return i, j, pair_similarity(query.embedding, reference.embedding, i, j, distance=distance)
    rows = query.label.argsort(stable=True).split(queries.tolist())
    groups = [
        (some, others)
        for same, others in zip(rows, column.split(references.tolist()), strict=True)
        for some in same.split(max(1, _GROUP_PAIRS // max(1, len(others))))
    ]
    found = cross_similarities(query.embedding, reference.embedding, groups, distance=distance)
    similarity = torch.cat([values.flatten() for values in found])
    i = torch.cat([some.repeat_interleave(len(others)) for some, others in groups])
    return i, torch.cat([others.repeat(len(some)) for some, others in groups]), similarity


def _similarity_range(sets: SpreadSets, distance: Distance) -> tuple[float, float]:
    """Bounds of all similarities, the lower below the upper."""
    if distance == "cosine":
        return -1.0, 1.0
    query = torch.stack([row_norms(block.embedding).max() for block in sets.queries()]).max()
    here = [row_norms(block.embedding).max() for block in sets.references()]
    reference = sets.processes.stack(torch.stack([query.new_zeros(()), *here]).max()).max()
    if distance == "inner_product":
        extent = float(query * reference) or 1.0
        return -extent, extent
    return -(float(query + reference) ** 2 or 1.0), 0.0
