"""Similarities of impostors in narrow windows, exactly, and how many are above.

Impostors are pairs of a query and a reference of another label. They are multiplied tile by tile,
and only those that the product cannot place outside a window are scored by the definition. So
windows should hold few pairs. How many there are, and where, a survey tells.
"""

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import torch
from jaxtyping import Bool, Float, Float64, Int64
from torch import Tensor

from .approximation import approximate, multiply_rows
from .masks import find_few
from .scoring import Distance, pair_similarity

Window = tuple[float, float]
"""The least and the greatest similarity in it."""


class Sides(NamedTuple):
    """The embeddings of both sides, and who is in each.

    Attributes:
        query: embeddings.
        query_label: likewise.
        reference: embeddings of the same dtype and on the same device.
        reference_label: likewise.
    """

    query: Float[Tensor, "Q D"]
    query_label: Int64[Tensor, " Q"]
    reference: Float[Tensor, "R D"]
    reference_label: Int64[Tensor, " R"]


class TileSizes(NamedTuple):
    """How the work is cut; no result depends on it.

    Attributes:
        queries: that meet all references before the next do.
        products: of these queries with some references: they stay in the caches.
        held: similarities of a window, from which on equal ones are put together.
    """

    queries: int = 1024
    products: int = 2**20
    held: int = 2**20


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
    sizes: TileSizes = TileSizes(),  # noqa: B008  # a constant
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
    counts = sides.query_label.new_zeros((len(windows), bins + 1))
    tolerance = torch.zeros((), dtype=torch.float64, device=counts.device)
    for tile in _tiles(sides, distance, sizes, sharp=True):
        tolerance = torch.maximum(tolerance, tile.tolerance.max() * tile.unit)
        for count, (low, high) in zip(counts, windows, strict=True):
            is_above = tile.product >= high / tile.unit
            i, j = find_few((tile.product >= low / tile.unit) ^ is_above)
            position = (tile.product[i, j] * tile.unit - low) / (high - low) * bins
            count += torch.bincount(position.long().clamp_(0, bins - 1), minlength=bins + 1)
            count[bins] += is_above.count_nonzero()
    return counts, 2 * tolerance  # which also covers the rounding of positions


@torch.no_grad()
def collect_windows(
    sides: Sides,
    windows: Sequence[Window],
    *,
    distance: Distance,
    sharp: bool = False,
    sizes: TileSizes = TileSizes(),  # noqa: B008  # a constant
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
    found = [[Inside.nothing(sides.query.device)] for _ in windows]
    for tile in _tiles(sides, distance, sizes, sharp=sharp):
        for parts, window in zip(found, windows, strict=True):
            parts.append(tile.collect(sides, window, distance))
            if sum(len(part.similarity) for part in parts) > sizes.held:
                parts[:] = [Inside.join(parts)]
    return [Inside.join(parts) for parts in found]


class _Tile(NamedTuple):
    """Products of some queries with some references.

    Attributes:
        rows: of the first query and of the first reference.
        product: `-inf` for pairs of one label.
        tolerance: bound of the errors for each query.
        unit: what a product of 1 stands for.
    """

    rows: tuple[int, int]
    product: Float[Tensor, "Q R"]
    tolerance: Float64[Tensor, " Q"]
    unit: float

    def collect(self, sides: Sides, window: Window, distance: Distance) -> Inside:
        """Score the pairs that may lie in a window."""
        low, high = window
        is_above = self._exceeds(high / self.unit + self.tolerance, torch.inf)
        reaches = self._exceeds(low / self.unit - self.tolerance, -torch.inf)
        i, j = find_few(reaches ^ is_above)
        similarity = pair_similarity(
            sides.query, sides.reference, i + self.rows[0], j + self.rows[1], distance=distance
        )
        above = is_above.count_nonzero() + (similarity > high).count_nonzero()
        inside = similarity[(similarity >= low) & (similarity <= high)]
        return Inside(above, inside, torch.ones_like(inside, dtype=torch.int64))

    def _exceeds(self, bound: Tensor, outward: float) -> Bool[Tensor, "Q R"]:
        """Compare the products of each query with a bound [Q], rounded outward."""
        rounded = bound.to(self.product.dtype)
        return self.product > rounded.nextafter(rounded.new_tensor(outward))[:, None]


def _tiles(sides: Sides, distance: Distance, sizes: TileSizes, *, sharp: bool) -> Iterator[_Tile]:
    """Multiply all queries with all references."""
    approximation, x, y = approximate(sides.query, sides.reference, distance=distance, sharp=sharp)
    columns = max(sizes.products // min(len(x), sizes.queries), 1)
    for first in range(0, len(x), sizes.queries):
        some = slice(first, first + sizes.queries)
        for start in range(0, len(y), columns):
            others = slice(start, start + columns)
            product = multiply_rows(x[some], y[others])
            own = sides.query_label[some, None] == sides.reference_label[others]
            product[find_few(own)] = -torch.inf
            yield _Tile((first, start), product, approximation.tolerance[some], approximation.unit)
