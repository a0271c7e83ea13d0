r"""Exact places in the ranking of references, for chosen references of every query.

A product in float64 gives an approximate similarity of every pair. It differs from
:func:`~.scoring.pair_similarity` by at most

.. math:: (2 D + 256)\, 2^{-53} (1 + 2^{-23} D)\, e + D\, 2^{-1072}, \qquad
          e = 1 \text{ (cosine)}, \quad |q| \max|r| \text{ (inner product)}, \quad
          (|q| + \max|r|)^2 \text{ (euclidean)}:

- :math:`n` products summed in any order are off by at most :math:`n u / (1 - n u)` times the
  product of the norms, :math:`u = 2^{-53}` (Higham, *Accuracy and Stability of Numerical
  Algorithms*, 2nd ed., section 3.1, and the Cauchy-Schwarz inequality), with :math:`n \le D + 2`;
- a norm of :math:`D` squares is off by at most :math:`D u / 2` relatively, and two of them enter
  a cosine; for euclidean, :math:`2 q \cdot r - |q|^2 - |r|^2` has squares off by :math:`D u`;
- the definition itself is off by at most :math:`5 (\log_2 D + 5) u e`, less than :math:`150 u e`
  for :math:`D < 2^{25}`; the rest of 256 covers what is linear in neither;
- the norms in :math:`e` may come from float32, hence the factor :math:`1 + 2^{-23} D`;
- products of float64 input that underflow lose at most :math:`2^{-1074}` each.

So only a reference whose product comes nearer than that to a target's similarity has to be scored
by the definition, and few do.
"""

from collections.abc import Callable

import torch
from torch import Tensor

from .inputs import check_embeddings, check_norms, row_norms
from .neighbors import Neighbors
from .scoring import Distance, balance, pair_similarity

_QUERIES = 1024  # that are multiplied at once with
_REFERENCES = 1024  # so that the product stays in the caches


@torch.no_grad()
def count_at_or_before(
    query: Tensor,
    reference: Tensor,
    index: Tensor,
    target: Neighbors,
    *,
    distance: Distance = "cosine",
) -> Tensor:
    """Count the references that rank no later than given places of the ranking.

    References rank by :func:`~.scoring.pair_similarity`, the lower index
    first where similarities are equal. For a target that is one of the references, the count is
    its rank, from 1. Over disjoint sets of references, counts add.

    Args:
        query: floating [Q, D].
        reference: floating [R, D], of the same dtype and on the same device.
        index: int64 [R], what references are numbered by; all different.
        target: similarity [Q, M] and index [Q, M] of the places, in the order of the ranking; where
            the index is -1, there is no target and the count has no meaning.
        distance: what to rank by.

    Returns:
        Counts [Q, M], int64. Beyond that and the embeddings, the function holds O(Q D + R)
        numbers and a constant.

    Raises:
        ValueError: for embeddings without finite similarities, or that do not fit each other.

    Example:
        >>> reference = torch.tensor([[1.0, 0.0], [0.0, 2.0], [3.0, 4.0]])
        >>> target = Neighbors(torch.tensor([[0.8]], dtype=torch.float64), torch.tensor([[2]]))
        >>> count_at_or_before(torch.tensor([[0.0, 1.0]]), reference, torch.arange(3), target)
        tensor([[2]])
    """
    check_embeddings(query, reference)
    norms = row_norms(query), row_norms(reference)
    check_norms(*norms, distance)
    tolerance = _tolerance(*norms, query.shape[1], distance)
    lowest = target.similarity.where(target.index >= 0, torch.inf).amin(dim=1) - tolerance
    width = target.index.shape[1] + 1
    counts = torch.zeros((len(query), width), dtype=torch.int64, device=query.device)
    x = _coordinates(query, distance, is_query=True)
    buffer = x.new_empty(_QUERIES * _REFERENCES)
    for start in range(0, len(reference), _REFERENCES):
        part = slice(start, start + _REFERENCES)
        y = _coordinates(reference[part], distance, is_query=False)
        for first in range(0, len(query), _QUERIES):
            some = slice(first, first + _QUERIES)
            product = torch.mm(x[some], y.T, out=buffer[: len(x[some]) * len(y)].view(-1, len(y)))
            i, j = (product >= lowest[some, None]).nonzero().unbind(1)
            here = Neighbors(target.similarity[some], target.index[some])
            place, is_certain = _place(product[i, j], tolerance[some][i], i, here)
            i_near, j_near = i[~is_certain], j[~is_certain]
            exact = pair_similarity(query[some], reference[part], i_near, j_near, distance=distance)
            place[~is_certain] = _exact_place(exact, index[part][j_near], i_near, here)
            found = torch.bincount(i * width + place, minlength=len(product) * width)
            counts[some] += found.view(-1, width)
    return counts[:, :-1].cumsum(dim=1)


def _place(
    product: Tensor, tolerance: Tensor, query: Tensor, target: Neighbors
) -> tuple[Tensor, Tensor]:
    """How many targets of their query are before products [N]; and whether that is certain."""
    low, high = product - tolerance, product + tolerance
    place = _bisect(query, target, lambda similarity, _: similarity > high)
    last = target.index.shape[1] - 1
    following = target.similarity[query, place.clamp_max(last)]
    return place, (place > last) | (following < low)


def _exact_place(similarity: Tensor, index: Tensor, query: Tensor, target: Neighbors) -> Tensor:
    """How many targets of their query are before references [N]."""
    return _bisect(query, target, lambda s, i: (s > similarity) | ((s == similarity) & (i < index)))


def _bisect(
    query: Tensor, target: Neighbors, is_before: Callable[[Tensor, Tensor], Tensor]
) -> Tensor:
    """Count the targets that are before something; they come first among their query's.

    Args:
        query: rows of the targets [N].
        target: in the order of the ranking [Q, M].
        is_before: tells it of the similarity [N] and index [N] of one target for each.
    """
    places = target.index.shape[1]
    low, high = torch.zeros_like(query), torch.full_like(query, places)
    for _ in range(places.bit_length()):
        middle = (low + high) // 2
        row = query, middle.clamp_max(places - 1)
        before = is_before(target.similarity[row], target.index[row]) & (low < high)
        low, high = torch.where(before, middle + 1, low), torch.where(before, high, middle)
    return low


def approximate_similarity(query: Tensor, reference: Tensor, *, distance: Distance) -> Tensor:
    """Similarities of all pairs by one product in float64, with the error in the module's text.

    Args:
        query: floating [Q, D].
        reference: floating [R, D].
        distance: what similarities are by.

    Returns:
        Similarities [Q, R], float64.
    """
    x = _coordinates(query, distance, is_query=True)
    return x @ _coordinates(reference, distance, is_query=False).T


def _coordinates(rows: Tensor, distance: Distance, *, is_query: bool) -> Tensor:
    """Rows [N, D'] in float64 whose inner products are the similarities."""
    rows = rows.double()
    if distance == "cosine":
        return _directions(rows)
    if distance == "inner_product":
        return rows
    square = rows.square().sum(dim=1, keepdim=True)
    one = torch.ones_like(square)
    return torch.cat((2 * rows, -one, -square) if is_query else (rows, square, one), dim=1)


def _directions(rows: Tensor) -> Tensor:
    rows = balance(rows)
    norms: Tensor = torch.linalg.vector_norm(rows, dim=1, keepdim=True)
    return rows / norms


def _tolerance(
    query_norm: Tensor, reference_norm: Tensor, columns: int, distance: Distance
) -> Tensor:
    """The bound in the module's text for each query [Q]."""
    greatest = reference_norm.max()
    if distance == "cosine":
        extent = torch.ones_like(query_norm)
    elif distance == "inner_product":
        extent = query_norm * greatest
    else:
        extent = (query_norm + greatest).square()
    relative = (2 * columns + 256) * 2.0**-53 * (1 + columns * 2.0**-23)
    return relative * extent + columns * 2.0**-1072
