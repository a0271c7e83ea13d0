"""Where in its ranking each query meets its matches, over sets that are spread over processes.

The owner of a match scores it. All processes count the impostors that they hold and that rank
before the match. The counts add up to ranks.
"""

from typing import NamedTuple

import torch
from jaxtyping import Float64, Int64
from torch import Tensor

from ..search.impostors import FINE, Impostors, compare_impostors
from ..search.inputs import row_norms
from ..search.pairs import order_pairs, pairs_of_equals, place_in_query
from ..search.placing import Matches
from ..search.products import Sides
from ..search.scoring import Distance, cross_similarity, pair_similarity
from ..search.threads import map_in_threads
from ..search.windows import Survey
from .matches import MatchRanks
from .spread_sets import Samples, SpreadSets

_MATCHES = 2**20  # that are ranked at once
_MANY_PAIRS = 1024  # of one label, from which on it is worth scoring them together
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
        matches: the references of each query's identity.
        impostor_similarity: greatest similarity to a reference of another identity; `-inf` where
            there is none.
        histogram: of the similarities of all pairs.
        survey: of the similarities of all pairs of two identities.
    """

    matches: MatchRanks
    impostor_similarity: Float64[Tensor, " Q"]
    histogram: SimilarityHistogram
    survey: Survey


@torch.no_grad()
def rank_references(sets: SpreadSets, *, distance: Distance, leave_one_out: bool) -> Ranking:
    """Rank the matches of all queries among all references, and count similarities in bins.

    The bins span the range that the norms of the embeddings allow: [-1, 1] for cosine, [-a, a] with
    a = max|q| max|r| for inner product, [-(max|q| + max|r|)^2, 0] for euclidean.

    Args:
        sets: queries and references.
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
    matches, nearest, tolerance = [], [], edges.new_zeros(())
    same, different = sets.query_index.new_zeros((2, _BINS))
    fine = sets.query_index.new_zeros(_BINS * FINE + 1)  # the last one for what lies above
    for query in sets.queries(max(_MATCHES // (most + 1), 1)):
        block, impostors = _rank_block(query, sets, edges, distance, leave_one_out)
        matches.append(block)
        nearest.append(impostors.nearest)
        bins = torch.bucketize(block.similarity, edges[1:-1], right=True)
        same += torch.bincount(bins, minlength=_BINS)
        different += impostors.histogram
        fine[:-1] += impostors.fine
        tolerance = torch.maximum(tolerance, impostors.tolerance)
    order = sets.query_index.argsort()
    return Ranking(
        MatchRanks.join(matches).reordered(order),
        torch.cat(nearest)[order],
        SimilarityHistogram(edges, same, different),
        Survey.sum_up((low, high), fine, float(tolerance)),
    )


def _rank_block(
    query: Samples, sets: SpreadSets, edges: Tensor, distance: Distance, leave_one_out: bool
) -> tuple[MatchRanks, Impostors]:
    """Rank the matches of a block of queries among the impostors of all processes."""
    matches, camera = _find_matches(query, sets, distance, leave_one_out)
    impostors = _compare_impostors(query, sets, matches, edges, distance)
    count = torch.bincount(matches.query, minlength=len(query.index))
    rank = place_in_query(count) + 1 + impostors.before
    is_own_camera = camera == query.camera[matches.query]
    return MatchRanks(count, rank, matches.similarity, is_own_camera), impostors


def _compare_impostors(
    query: Samples, sets: SpreadSets, matches: Matches, edges: Tensor, distance: Distance
) -> Impostors:
    """Compare a block of queries with the impostors of all processes."""

    def compare_here() -> Impostors:
        total = Impostors(
            torch.zeros_like(matches.index),
            edges.new_full((len(query.index),), -torch.inf),
            matches.index.new_zeros(_BINS),
            matches.index.new_zeros(_BINS * FINE),
            edges.new_zeros(()),
        )
        for reference in sets.references():
            sides = Sides(query.embedding, query.label, reference.embedding, reference.label)
            found = compare_impostors(sides, reference.index, matches, edges, distance=distance)
            total = total.plus(found)
            del sides, reference  # before the next block is made
        return total

    found = sets.processes.attempt(compare_here)
    return Impostors(
        sets.processes.total(found.before),
        sets.processes.stack(found.nearest).amax(dim=0),
        sets.processes.total(found.histogram),
        sets.processes.total(found.fine),
        sets.processes.stack(found.tolerance).amax(dim=0),
    )


def _find_matches(
    query: Samples, sets: SpreadSets, distance: Distance, leave_one_out: bool
) -> tuple[Matches, Tensor]:
    """Score the references of each query's identity on all processes; also return their cameras."""

    def find_here() -> Tensor:
        parts = [query.index.new_empty((0, 4))]
        for reference in sets.references():
            i, j, similarity = _score_equals(query, reference, distance)
            if leave_one_out:
                is_other = query.index[i] != reference.index[j]
                i, j, similarity = i[is_other], j[is_other], similarity[is_other]
            bits = similarity.view(torch.int64)
            parts.append(torch.stack([i, reference.index[j], reference.camera[j], bits], dim=1))
            del reference  # before the next block is made
        return torch.cat(parts)

    table = torch.cat(sets.processes.ragged(sets.processes.attempt(find_here)))
    i, index, camera, bits = table.T.contiguous()
    similarity = bits.view(torch.float64)
    order = order_pairs(i, similarity, index)
    return Matches(i[order], similarity[order], index[order]), camera[order]


def _score_equals(
    query: Samples, reference: Samples, distance: Distance
) -> tuple[Tensor, Tensor, Tensor]:
    """All pairs of positions that have the same label, ascending by query, and their similarity."""
    i, j = pairs_of_equals(query.label, reference.label)
    present = query.label.unique()
    if len(i) < _MANY_PAIRS * len(present):
        return i, j, pair_similarity(query.embedding, reference.embedding, i, j, distance=distance)
    similarity = torch.empty_like(i, dtype=torch.float64)
    count = torch.bincount(i, minlength=len(query.label))
    start = count.cumsum(0) - count

    def score(label: Tensor) -> None:
        rows = (query.label == label).nonzero()[:, 0]
        columns = j[start[rows[0]] : start[rows[0]] + count[rows[0]]]
        place = start[rows, None] + torch.arange(len(columns), device=i.device)
        similarity[place] = cross_similarity(
            query.embedding[rows], reference.embedding[columns], distance=distance
        )

    for _ in map_in_threads(score, present.unbind(), i.device):
        pass
    return i, j, similarity


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
