r"""Exact places in the ranking of references, for chosen references of every query.

A product in float64 gives an approximate similarity of every pair. It differs from
:func:`~src.metrics.functional.scoring.pair_similarity` by at most

.. math:: (2 D + 256)\, 2^{-53} e + D\, 2^{-1072}, \qquad
          e = 1 \text{ (cosine)}, \quad |q| \max|r| \text{ (inner product)}, \quad
          (|q| + \max|r|)^2 \text{ (euclidean)}:

- :math:`n` products summed in any order are off by at most :math:`n u / (1 - n u)` times the
  product of the norms, :math:`u = 2^{-53}` (Higham, *Accuracy and Stability of Numerical
  Algorithms*, 2nd ed., section 3.1, and the Cauchy-Schwarz inequality), with :math:`n \le D + 2`;
- a norm of :math:`D` squares is off by at most :math:`D u / 2` relatively, and two of them enter
  a cosine; for euclidean, :math:`2 q \cdot r - |q|^2 - |r|^2` has squares off by :math:`D u`;
- the definition itself is off by at most :math:`5 (\log_2 D + 5) u e`, less than :math:`150 u e`
  for every :math:`D` that fits in memory; the rest of 256 covers what is linear in neither.
- products of float64 input that underflow lose at most :math:`2^{-1074}` each.

So only a reference whose product comes nearer than that to a target's similarity has to be scored
by the definition, and few do.
"""

import torch
from torch import Tensor

from src.metrics.functional.inputs import check_embeddings, check_norms, row_norms
from src.metrics.functional.neighbors import Neighbors
from src.metrics.functional.scoring import Distance, balance, pair_similarity

_QUERIES = 256
_REFERENCES = 4096


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

    References rank by :func:`~src.metrics.functional.scoring.pair_similarity`, the lower index
    first where similarities are equal. For a target that is one of the references, the count is
    its rank, from 1. Over disjoint sets of references, counts add.

    Args:
        query: floating [Q, D].
        reference: floating [R, D], of the same dtype and on the same device.
        index: int64 [R], what references are numbered by; all different.
        target: similarity [Q, M] and index [Q, M] of the places, in the order of the ranking; the
            counts of a target with similarity `-inf` have no meaning.
        distance: what to rank by.

    Returns:
        Counts [Q, M], int64. Beyond that and the embeddings, the function holds O(R) numbers and a
        constant.

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
    places = target.index.shape[1]
    counts = torch.zeros((len(query), places + 1), dtype=torch.int64, device=query.device)
    tolerance = _tolerance(*norms, query.shape[1], distance)
    for rows in torch.arange(len(query), device=query.device).split(_QUERIES):
        some = slice(int(rows[0]), int(rows[-1]) + 1)
        here = Neighbors(target.similarity[some], target.index[some])
        for columns in torch.arange(len(reference), device=query.device).split(_REFERENCES):
            part = slice(int(columns[0]), int(columns[-1]) + 1)
            product = approximate_similarity(query[some], reference[part], distance=distance)
            first, last = _place(product, tolerance[some, None], here.similarity)
            certain = first == last
            counts[some].scatter_add_(1, first, certain.long())
            i, j = (~certain).nonzero().unbind(1)
            if len(i):
                exact = pair_similarity(query[some], reference[part], i, j, distance=distance)
                place = _exact_place(exact, index[part][j], i, here)
                one = torch.ones_like(place)
                counts[some].index_put_((i, place), one, accumulate=True)
    return counts[:, :places].cumsum(dim=1)


def _place(product: Tensor, tolerance: Tensor, targets: Tensor) -> tuple[Tensor, Tensor]:
    """How many targets [Q, M] are certainly, and how many may be, before each product [Q, R]."""
    ascending = (-targets).contiguous()
    first = torch.searchsorted(ascending, -product - tolerance)
    last = torch.searchsorted(ascending, tolerance - product, right=True)
    return first, last


def _exact_place(similarity: Tensor, index: Tensor, query: Tensor, target: Neighbors) -> Tensor:
    """How many targets of their query rank before references [N], by binary search."""
    low = torch.zeros_like(query)
    high = torch.full_like(query, target.index.shape[1])
    for _ in range(target.index.shape[1].bit_length()):
        middle = (low + high) // 2
        inside = middle.clamp_max(target.index.shape[1] - 1)
        value, place = target.similarity[query, inside], target.index[query, inside]
        before = (value > similarity) | ((value == similarity) & (place < index))
        before &= low < high
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
    x, y = query.double(), reference.double()
    if distance == "cosine":
        x, y = _directions(x), _directions(y)
    if distance == "euclidean":
        x_square, y_square = (rows.square().sum(dim=1, keepdim=True) for rows in (x, y))
        x = torch.cat((2 * x, -torch.ones_like(x_square), -x_square), dim=1)
        y = torch.cat((y, y_square, torch.ones_like(y_square)), dim=1)
    return x @ y.T


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
    return (2 * columns + 256) * 2.0**-53 * extent + columns * 2.0**-1072
