"""The ranking of references after k-reciprocal re-ranking, over sets spread over processes.

Whether two images are neighbours depends on all images, so every process receives all embeddings
and computes all encodings. The searches and the ranking, which take most of the time, are shared.
"""

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import scipy
import torch
from jaxtyping import Float, Float64, Int64
from torch import Tensor

from ..search.nearest import nearest_references
from ..search.pairs import order_pairs, pairs_of_equals, place_in_query
from ..search.placing import Matches, Windows, count_before
from ..search.reciprocal import encode, share_weights
from ..search.scoring import balance, defined_norms, grid_similarity
from .matches import MatchRanks
from .processes import Processes
from .spread_sets import SpreadSets

_BLOCK = 2**22  # pairs of a query and a reference that are ranked at once
_ROUNDING = 2.0**-53


@dataclass(frozen=True)
class KReciprocal:
    r"""k-reciprocal re-ranking.

    Zhong et al., "Re-ranking Person Re-identification with k-reciprocal Encoding", CVPR 2017. The
    distance of query i and reference j becomes

    .. math::
        \lambda \frac{d_{ij}}{\max_a d_{ia}} + (1 - \lambda) \left( 1 -
            \frac{\sum_c \min(v_{ic}, v_{jc})}{\sum_c \max(v_{ic}, v_{jc})} \right)

    Here :math:`d_{ij} = 2 - 2 \cos(i, j)`, in float64, is the squared distance of the directions of
    their embeddings, whatever distance the other measures rank by, and a is any query or
    reference. So the distances of each image are scaled by its own greatest. (The authors' code
    divides each column of the symmetric matrix by its greatest, and then transposes it.)
    :math:`v_i` is what :func:`~..search.reciprocal.encode` makes of image i among all queries,
    which come first, and references. Of equal distances, the lower index comes first.

    Args:
        k1: neighbours that may be reciprocal, the image itself aside.
        k2: neighbours whose encodings are averaged, the image itself included.
        lambda_value: share of the original distance.

    Raises:
        ValueError: if an option is not as described.
    """

    k1: int = 20
    k2: int = 6
    lambda_value: float = 0.3

    def __post_init__(self) -> None:
        for name in ("k1", "k2"):
            value = getattr(self, name)
            if isinstance(value, bool) or not isinstance(value, int) or value < 1:
                raise ValueError(f"`{name}` should be a positive integer, got {value!r}")
        if not isinstance(self.lambda_value, int | float) or not 0 <= self.lambda_value <= 1:
            raise ValueError(
                f"`lambda_value` should be a number from 0 to 1, got {self.lambda_value!r}"
            )


class _Images(NamedTuple):
    """All queries and then all references, each in ascending order of index.

    Attributes:
        embedding: as given.
        label: the identity.
        camera: -1 where unknown.
        queries: how many of the images are queries.
    """

    embedding: Float[Tensor, "N D"]
    label: Int64[Tensor, " N"]
    camera: Int64[Tensor, " N"]
    queries: int


class _Graph(NamedTuple):
    """What is known of all images before the ranking, on the CPU.

    Attributes:
        images: themselves.
        norm: of their embeddings, as cosine has them.
        direction: of their embeddings.
        greatest: distance to any other image.
        encoding: of each image, a row.
        of_references: those of the references, by columns.
    """

    images: _Images
    norm: Float64[Tensor, " N"]
    direction: Float64[Tensor, "N D"]
    greatest: Float64[Tensor, " N"]
    encoding: "scipy.sparse.csr_array"
    of_references: "scipy.sparse.csc_array"


@torch.no_grad()
def rerank(sets: SpreadSets, options: KReciprocal) -> MatchRanks:
    """Rank the matches of all queries among all references, by the distance of `KReciprocal`.

    Returns:
        The same on every process, the queries in ascending order of index. `similarity` is the
        negative distance.

    Raises:
        ValueError: on every process, for an embedding without a direction.
    """
    processes, device = sets.processes, sets.query_index.device
    images = _gather(sets)
    _check_directions(images)
    nearest, farthest = _search(images.embedding, max(options.k1 + 1, options.k2), processes)
    graph = _connect(images, nearest.cpu(), farthest.cpu(), options)
    length = max(1, _BLOCK // graph.of_references.shape[0])
    share = torch.arange(images.queries).tensor_split(processes.size)[processes.rank]
    blocks = [_rank_block(graph, rows, options) for rows in share.split(length)]
    return _join(MatchRanks.join(blocks), processes, device)


def _gather(sets: SpreadSets) -> _Images:
    """Bring all samples to this process."""
    queries, references = list(sets.queries()), list(sets.references())
    embedding = torch.cat([queries[0].embedding[:0], *(part.embedding for part in references)])
    columns = [torch.stack([part.index, part.label, part.camera], dim=1) for part in references]
    table = torch.cat([sets.query_index.new_empty((0, 3)), *columns])
    # As bytes, because not every backend sends every floating type.
    rows = torch.cat(sets.processes.ragged(embedding.view(torch.uint8))).view(embedding.dtype)
    index, label, camera = torch.cat(sets.processes.ragged(table)).T
    q, r = sets.query_index.argsort(), index.argsort()
    return _Images(
        torch.cat([torch.cat([part.embedding for part in queries])[q], rows[r]]),
        torch.cat([sets.query_label[q], label[r]]),
        torch.cat([sets.query_camera[q], camera[r]]),
        len(q),
    )


def _check_directions(images: _Images) -> None:
    without = (defined_norms(images.embedding) == 0).nonzero()[:, 0]
    if len(without):
        row = int(without[0])
        name, row = ("query", row) if row < images.queries else ("reference", row - images.queries)
        raise ValueError(
            f"`{name}` should have no zero vector if it is re-ranked, got one in row {row}"
        )


def _search(
    embedding: Float[Tensor, "N D"], k: int, processes: Processes
) -> tuple[Int64[Tensor, "N K"], Int64[Tensor, " N"]]:
    """Find the nearest of all images and the farthest, each process for its share of them."""
    share = embedding.tensor_split(processes.size)[processes.rank]
    k = min(k, len(embedding))
    found = embedding.new_empty((0, k + 1), dtype=torch.int64)
    if len(share):
        nearest = nearest_references(share, embedding, k=k)
        farthest = nearest_references(-share, embedding)
        found = torch.cat([nearest.index, farthest.index], dim=1)
    found = torch.cat(processes.ragged(found))
    return found[:, :k], found[:, k]


def _connect(images: _Images, nearest: Tensor, farthest: Tensor, options: KReciprocal) -> _Graph:
    """Scale distances and encode images."""
    embedding, label, camera, queries = images
    images = _Images(embedding.cpu(), label.cpu(), camera.cpu(), queries)
    embedding, norm = images.embedding, defined_norms(images.embedding)
    everyone = torch.arange(len(embedding))
    greatest = _distance(embedding, norm, everyone, farthest)
    # Where all images have one direction, every distance is 0, or almost.
    greatest = greatest.where(greatest > 64 * _ROUNDING, 1)

    def scaled(i: np.ndarray, j: np.ndarray) -> np.ndarray:
        rows = torch.from_numpy(i)
        distance = _distance(embedding, norm, rows, torch.from_numpy(j))
        return (distance / greatest[rows]).numpy()

    encoding = encode(nearest.numpy(), scaled, k1=options.k1, k2=options.k2)
    # As `defined_norms` does.
    rows = balance(embedding) if embedding.dtype == torch.float64 else embedding.double()
    direction = rows / norm[:, None]
    of_references = encoding[images.queries :].tocsc()
    return _Graph(images, norm, direction, greatest, encoding, of_references)


def _distance(embedding: Tensor, norm: Tensor, i: Tensor, j: Tensor) -> Float64[Tensor, " P"]:
    """Return the squared distance of the directions of pairs."""
    cosine = grid_similarity(
        embedding, embedding, i, j[:, None], distance="cosine", norms=(norm, norm)
    )
    return 2 - 2 * cosine[:, 0]


def _rank_block(graph: _Graph, rows: Int64[Tensor, " B"], options: KReciprocal) -> MatchRanks:
    """Rank the matches of some queries.

    A product of all pairs tells, up to rounding, which impostors rank before a match. The few that
    are too close to tell are scored by the definition.
    """
    images, queries = graph.images, graph.images.queries
    shared = torch.from_numpy(share_weights(graph.encoding[rows.numpy()], graph.of_references))
    greatest = graph.greatest[rows]

    def similarity(distance: Tensor, shared: Tensor, greatest: Tensor) -> Tensor:
        jaccard = 1 - shared / (2 - shared)  # the weights of both sum to 2
        weight = options.lambda_value
        return 0 - (weight * (distance / greatest) + (1 - weight) * jaccard)

    def score(i: Tensor, j: Tensor) -> Tensor:
        distance = _distance(images.embedding, graph.norm, rows[i], j + queries)
        return similarity(distance, shared[i, j], greatest[i])

    i, j = pairs_of_equals(images.label[rows], images.label[queries:])
    exact = score(i, j)
    order = order_pairs(i, exact, j)
    matches = Matches(i[order], exact[order], j[order])
    product = graph.direction[rows] @ graph.direction[queries:].T
    product = similarity(2 - 2 * product, shared, greatest[:, None])
    product[i, j] = -torch.inf
    tolerance = _tolerance(graph.direction.shape[1], greatest, options)[matches.query]
    windows = Windows(matches.similarity - tolerance, matches.similarity + tolerance)
    index = torch.arange(product.shape[1])
    before = count_before(product, windows, matches, index, score)
    count = torch.bincount(i, minlength=len(rows))
    is_own_camera = images.camera[rows][i] == images.camera[queries:][j]
    return MatchRanks(
        count, place_in_query(count) + 1 + before, matches.similarity, is_own_camera[order]
    )


def _tolerance(width: int, greatest: Tensor, options: KReciprocal) -> Float64[Tensor, " B"]:
    """Bound the error of a similarity whose cosine is a product of directions.

    In units of rounding, a product of D terms errs by at most D, whatever the order of its sum
    (Higham, *Accuracy and Stability of Numerical Algorithms*, 2nd ed., section 3.1). Directions and
    the definition, whose sums have at most log D steps, err by less than 64 together, and what
    follows by a few. A distance doubles the error of a cosine. Twice all that is allowed for.
    """
    error = 2 * 2 * (width + 64) / greatest
    return _ROUNDING * (options.lambda_value * error + 32)


def _join(matches: MatchRanks, processes: Processes, device: torch.device) -> MatchRanks:
    """Put the queries of all processes one after another."""
    bits = matches.similarity.view(torch.int64)
    table = torch.stack([matches.rank, bits, matches.is_own_camera.long()], dim=1).to(device)
    count = torch.cat(processes.ragged(matches.count.to(device)))
    rank, bits, is_own_camera = torch.cat(processes.ragged(table)).T.contiguous()
    return MatchRanks(count, rank, bits.view(torch.float64), is_own_camera.bool())
