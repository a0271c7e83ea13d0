"""Similarities of impostors in narrow windows, exactly, and how many are above.

Impostors are pairs of a query and a reference of another label. They are multiplied tile by tile,
and only those that the product cannot place outside a window are scored by the definition. So
windows should hold few pairs. How many there are, and where, a survey tells.
"""

from collections.abc import Sequence
from typing import NamedTuple

import torch
from jaxtyping import Float64, Int64
from torch import Tensor

from .buckets import Buckets
from .masks import cover, find_marked
from .products import Block, Products, Sides, Sizes
from .scoring import Distance

_BUCKETS = 2**14  # that the range of all windows is cut into

Window = tuple[float, float]
"""The least and the greatest similarity in it."""


class Survey(NamedTuple):
    """How many impostors have at least some similarities, about.

    Attributes:
        edges: these similarities, ascending.
        count: of the pairs whose approximate similarity is at least the edge.
        tolerance: bound of the errors of the approximate similarities.
    """

    edges: Float64[Tensor, " K"]
    count: Int64[Tensor, " K"]  # type: ignore[assignment]  # the field hides tuple.count
    tolerance: float

    @classmethod
    def sum_up(cls, window: Window, bins: Int64[Tensor, " K"], tolerance: float) -> "Survey":
        """Sum up counts in bins of equal width, the last of which is all that is not below."""
        low, high = window
        edges = torch.linspace(low, high, len(bins), dtype=torch.float64, device=bins.device)
        return cls(edges, bins.flip(0).cumsum(0).flip(0), tolerance)


class Inside(NamedTuple):
    """The impostors in a window.

    Attributes:
        above: how many are more similar than all in the window.
        similarity: every different one in the window, ascending.
        count: of the pairs that have it.
    """

    above: Int64[Tensor, ""]
    similarity: Float64[Tensor, " N"]
    count: Int64[Tensor, " N"]  # type: ignore[assignment]  # the field hides tuple.count

    @classmethod
    def nothing(cls, device: torch.device) -> "Inside":
        """Return what no pair has in a window."""
        none = torch.empty(0, dtype=torch.int64, device=device)
        return cls(none.sum(), none.double(), none)

    @classmethod
    def join(cls, parts: Sequence["Inside"]) -> "Inside":
        """Put together what disjoint sets of pairs have in one window."""
        above, similarity, count = zip(*parts, strict=True)
        value, place = torch.cat(similarity).unique(return_inverse=True)
        total = place.new_zeros(len(value)).scatter_add_(0, place, torch.cat(count))
        return cls(torch.stack(above).sum(), value, total)


@torch.no_grad()
def survey_windows(
    sides: Sides,
    windows: Sequence[Window],
    *,
    distance: Distance,
    bins: int,
    sizes: Sizes = Sizes(),  # noqa: B008  # a constant
) -> tuple[Int64[Tensor, "W K"], Float64[Tensor, ""]]:
    """Count the impostors in bins of every window, by products in float64.

    Args:
        sides: what to compare.
        windows: that are wider than the errors of such products.
        distance: what similarities are by.
        bins: of equal width, that a window is cut into.
        sizes: how the work is cut.

    Returns:
        The numbers of impostors in the bins of each window, and at last of those above it; and a
        bound of the errors of the similarities that they are counted by. Over disjoint sets of
        pairs the numbers add up, and the greatest bound is that of all.

    Raises:
        ValueError: for embeddings without finite similarities, or that do not fit each other.
    """
    products = Products.of(sides, distance, sizes, sharp=True)
    bounds = [[bound / products.approximation.unit for bound in window] for window in windows]

    def survey(block: Block) -> Tensor:
        return torch.stack([_count_in_bins(block.product, low, high, bins) for low, high in bounds])

    total = sides.query_label.new_zeros((len(windows), bins + 1))
    for counts in products.visit(survey):
        total += counts
    tolerance = products.approximation.tolerance.max() * products.approximation.unit
    return total, 2 * tolerance  # which also covers the rounding of positions


@torch.no_grad()
def collect_windows(
    sides: Sides,
    windows: Sequence[Window],
    *,
    distance: Distance,
    sharp: bool = False,
    sizes: Sizes = Sizes(),  # noqa: B008  # a constant
) -> list[Inside]:
    """Find the similarities in every window, by the definition.

    Args:
        sides: what to compare.
        windows: which may overlap.
        distance: what similarities are by.
        sharp: whether to multiply in float64: slower, but fewer pairs are scored.
        sizes: how the work is cut.

    Raises:
        ValueError: for embeddings without finite similarities, or that do not fit each other.

    Example:
        >>> label = torch.tensor([7, 8, 9])
        >>> reference = torch.tensor([[1.0, 0.0], [0.0, 2.0], [3.0, 4.0]])
        >>> sides = Sides(torch.tensor([[0.0, 1.0]]), label[:1], reference, label)
        >>> (found,) = collect_windows(sides, [(0.5, 0.9)], distance="cosine")
        >>> found.similarity, found.count, found.above
        (tensor([0.8000], dtype=torch.float64), tensor([1]), tensor(1))
    """
    products = Products.of(sides, distance, sizes, sharp=sharp)
    bounds = torch.tensor(windows, dtype=torch.float64, device=sides.query.device).T
    in_units = products.approximation.in_units(bounds)

    def collect(block: Block) -> list[Inside]:
        return _collect(block, bounds, in_units)

    found = [[Inside.nothing(sides.query.device)] for _ in windows]
    for inside in products.visit(collect):
        for parts, part in zip(found, inside, strict=True):
            parts.append(part)
            joined, *others = (len(part.similarity) for part in parts)
            if sum(others) > max(joined, sizes.held):
                parts[:] = [Inside.join(parts)]
    return [Inside.join(parts) for parts in found]


def _count_in_bins(product: Tensor, low: float, high: float, bins: int) -> Tensor:
    """Count products in bins of a range, and at last those above it."""
    position = (product - low).mul_(bins / (high - low)).add_(1).clamp_(0, bins + 1)
    return torch.bincount(position.int().flatten(), minlength=bins + 2)[1:]


def _collect(block: Block, bounds: Tensor, in_units: Tensor) -> list[Inside]:
    """Count the pairs above each window, and score those that may lie in it.

    Args:
        block: of products.
        bounds: of the windows [2, W], similarities.
        in_units: the same in units of the product.
    """
    (lowest, highest), tolerance = in_units, block.tolerance.max()
    low, high = lowest - tolerance, highest + tolerance
    buckets = Buckets.fit(low.min()[None], high.max()[None], _BUCKETS, block.product.dtype)
    number = buckets.find(block.product).int()
    first, last = (bound.long() for bound in buckets.find_bounds(low, high))
    upto = torch.bincount(number.flatten(), minlength=buckets.count).cumsum(0)
    place = find_marked(number, cover(first, last + 1, buckets.count))
    product, number = (of.flatten().index_select(0, place) for of in (block.product, number))
    i, j = block.rows_at(place)
    tolerance = block.tolerance.index_select(0, i)
    parts = []
    for window, (least, greatest) in enumerate(bounds.T):
        is_above = product > highest[window] + tolerance
        is_near = (product >= lowest[window] - tolerance) & ~is_above
        similarity = block.score(i[is_near], j[is_near])
        inside = similarity[(similarity >= least) & (similarity <= greatest)]
        above = (
            upto[-1]
            - upto[last[window]]
            + (is_above & (number <= last[window])).count_nonzero()
            + (similarity > greatest).count_nonzero()
        )
        parts.append(Inside(above, *inside.unique(return_counts=True)))
    return parts
