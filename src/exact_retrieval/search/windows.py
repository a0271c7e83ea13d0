"""One pass over the impostors of every query that scores those inside given windows."""

from typing import NamedTuple

import torch
from jaxtyping import Float, Float64, Int64
from torch import Tensor

from .approximation import Approximation, multiply_rows
from .inputs import row_norms
from .masks import find_few
from .scoring import Distance, pair_similarity

_QUERIES = 1024  # that meet all references before the next do
_PRODUCTS = 2**20  # of these queries with some references: they stay in the caches


class Selection(NamedTuple):
    """Pairs of a query and an impostor, by their similarity.

    Attributes:
        above: how many lie between each window and the next one, or above the last.
        value: similarities in the windows, and perhaps some just outside of them; ascending.
        count: how many pairs have each.
    """

    above: Int64[Tensor, " W"]
    value: Float64[Tensor, " M"]
    count: Int64[Tensor, " M"]  # type: ignore[assignment]  # the field hides tuple.count

    def __add__(self, other: "Selection") -> "Selection":  # type: ignore[override]
        """Put together what is found among disjoint pairs."""
        value, place = torch.cat([self.value, other.value]).unique(return_inverse=True)
        count = torch.zeros_like(place[: len(value)])
        count.scatter_add_(0, place, torch.cat([self.count, other.count]))
        return Selection(self.above + other.above, value, count)

    @classmethod
    def none(cls, windows: Float64[Tensor, "W 2"]) -> "Selection":
        """Return what is found among no pairs."""
        zeros = windows.new_zeros(len(windows), dtype=torch.int64)
        return cls(zeros, windows.new_empty(0), zeros[:0])


@torch.no_grad()
def select_impostors(
    query: Float[Tensor, "Q D"],
    query_label: Int64[Tensor, " Q"],
    reference: Float[Tensor, "R D"],
    reference_label: Int64[Tensor, " R"],
    windows: Float64[Tensor, "W 2"],
    *,
    distance: Distance = "cosine",
) -> Selection:
    """Score the pairs of two labels whose similarity lies in a window, and count those above.

    A product with a bounded error tells which pairs may lie in a window. Only these are scored by
    :func:`~.scoring.pair_similarity`.

    Args:
        query: embeddings.
        query_label: who is in each query.
        reference: embeddings of the same dtype and on the same device.
        reference_label: likewise.
        windows: lower and upper end, both finite and included; no end is below that of the window
            before.
        distance: what similarities are by.

    Returns:
        The pairs. Memory is for these, O(Q + R) coordinates and a constant.

    Example:
        >>> reference = torch.tensor([[1.0, 0.0], [0.0, 2.0], [3.0, 4.0]])
        >>> query, label = torch.tensor([[0.0, 1.0]]), torch.tensor([7, 8, 9])
        >>> window = torch.tensor([[0.5, 0.9]]).double()
        >>> select_impostors(query, label[:1] - 1, reference, label, window)
        Selection(above=tensor([1]), value=tensor([0.8000], dtype=torch.float64), count=tensor([1]))
    """
    norms = row_norms(query), row_norms(reference)
    width = query.shape[1]
    approximation = Approximation.fit(*norms, width=width, distance=distance, sharp=False)
    x = approximation.coordinates(query, is_query=True)
    y = approximation.coordinates(reference, is_query=False)
    bounds = _bounds(windows / approximation.unit, float(approximation.tolerance.max()), y.dtype)
    selection = Selection.none(windows)
    step = max(_PRODUCTS // min(_QUERIES, len(query)), 1)
    for first in range(0, len(query), _QUERIES):
        rows = slice(first, first + _QUERIES)
        for start in range(0, len(y), step):
            product = multiply_rows(x[rows], y[start : start + step])
            own = query_label[rows, None] == reference_label[start : start + step]
            product[find_few(own)] = -torch.inf
            i, j = find_few(product >= bounds[0])
            segment = (product[i, j, None] > bounds[1:]).sum(dim=1)
            above = torch.bincount(segment, minlength=len(bounds))[1::2]
            i, j = (each[segment % 2 == 0] for each in (i, j))
            similarity = pair_similarity(query, reference, i + first, j + start, distance=distance)
            selection += Selection(above, *similarity.unique(return_counts=True))
    return selection


def _bounds(windows: Tensor, tolerance: float, dtype: torch.dtype) -> Tensor:
    """Ends of the windows [2 W], ascending, as a product may see them."""
    outward = windows + windows.new_tensor([-tolerance, tolerance])
    rounded = outward.to(dtype)
    ends = rounded.nextafter(rounded.new_tensor([-torch.inf, torch.inf]))
    return ends.flatten().cummax(dim=0).values
