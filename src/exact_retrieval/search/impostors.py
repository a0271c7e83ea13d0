"""One pass over the impostors of every query: the references of other identities."""

from dataclasses import dataclass
from typing import NamedTuple

import torch
from jaxtyping import Float64, Int64
from torch import Tensor

from .approximation import Approximation
from .greatest import find_greatest
from .masks import cover, find_marked
from .neighbors import Neighbors
from .pairs import order_pairs
from .placing import Matches, Windows, count_before
from .products import Block, Products, Sides, Sizes
from .scoring import Distance

FINE = 256  # fine bins in a bin
_LEAST_RATE = 2.0**-100  # bins in a unit of the product, which float32 does not round to zero


class Counts(NamedTuple):
    """How many references of other identities there are.

    Attributes:
        before: how many rank before each match.
        histogram: pairs of a query and an impostor in each bin of similarity.
        fine: likewise in `FINE` times as many bins, but by similarities that are only approximate.
        tolerance: bound of the errors of these similarities.
    """

    before: Int64[Tensor, " N"]
    histogram: Int64[Tensor, " B"]
    fine: Int64[Tensor, " F"]
    tolerance: Float64[Tensor, ""]

    def plus(self, other: "Counts") -> "Counts":
        """Add what the same queries meet among other references."""
        return Counts(
            self.before + other.before,
            self.histogram + other.histogram,
            self.fine + other.fine,
            torch.maximum(self.tolerance, other.tolerance),
        )


class Impostors(NamedTuple):
    """The references of other identities, as each query meets them.

    Attributes:
        counts: of all.
        nearest: the k nearest, by their rows.
    """

    counts: Counts
    nearest: Neighbors


@torch.no_grad()
def compare_impostors(
    sides: Sides,
    index: Int64[Tensor, " R"],
    matches: Matches,
    edges: Float64[Tensor, " E"],
    *,
    k: int = 1,
    distance: Distance = "cosine",
    sizes: Sizes = Sizes(),  # noqa: B008  # a constant
) -> Impostors:
    """Compare every query with the references of other labels, exactly.

    References rank by :func:`~.scoring.pair_similarity`, the lower index first where similarities
    are equal. A bin holds its lower edge, the last one both. Of disjoint sets of references,
    `Counts.plus` adds up the counts, and `merge_neighbors` finds the nearest.

    Args:
        sides: what to compare.
        index: what the references are numbered by; all different.
        matches: whose places are asked for; they need not be among these references.
        edges: of the bins, in equal steps; no similarity lies outside.
        k: number of nearest impostors.
        distance: what to rank by.
        sizes: how the work is cut.

    Returns:
        The counts, and the nearest impostors. Beyond that, the function holds the coordinates of
        all embeddings in the precision of the product, O(Q k + R + N + B) numbers and a constant.

    Raises:
        ValueError: for embeddings without finite similarities, or that do not fit each other.

    Example:
        >>> reference = torch.tensor([[1.0, 0.0], [0.0, 2.0], [3.0, 4.0]])
        >>> label = torch.tensor([7, 8, 9])
        >>> match = Matches(torch.tensor([0]), torch.tensor([0.8]).double(), torch.tensor([2]))
        >>> sides = Sides(torch.tensor([[0.0, 1.0]]), label[2:], reference, label)
        >>> edges = torch.linspace(-1, 1, 3).double()
        >>> compare_impostors(sides, torch.arange(3), match, edges).counts.before
        tensor([1])
    """
    sharp = len(matches.query) > sizes.many * len(sides.query)
    products = Products.of(sides, distance, sizes, sharp=sharp)
    bins = _Bins.fit(edges, products.approximation)

    def compare(block: Block) -> Impostors:
        some = matches.of(block.rows)
        value = products.approximation.in_units(some.similarity)
        tolerance = block.tolerance.index_select(0, some.query)
        windows = Windows(value - tolerance, value + tolerance)
        before = count_before(block.product, windows, some, index, block.score)
        histogram, fine = _count_in_bins(block, bins)
        counts = Counts(before, histogram, fine, bins.tolerance)
        return Impostors(counts, _find_nearest(block, index, k))

    before, nearest = [], []
    histogram = index.new_zeros(len(edges) - 1)
    fine = index.new_zeros(len(histogram) * FINE)
    for counts, neighbors in products.visit(compare):
        before.append(counts.before)
        histogram += counts.histogram
        fine += counts.fine
        nearest.append(neighbors)
    counts = Counts(torch.cat(before), histogram, fine, bins.tolerance)
    return Impostors(counts, Neighbors(*map(torch.cat, zip(*nearest, strict=True))))


@dataclass(frozen=True)
class _Bins:
    """Bins of similarity, in units of the product, each of them in `FINE` parts.

    Positions among the edges count from 1. What is left out, or far below the first edge, is at
    0.5.

    Attributes:
        edges: similarities.
        per_unit: bins that a product of 1 spans.
        origin: position of a product of 0.
        rounding: bound of the errors of the positions beyond those of the products.
        tolerance: bound of the errors of similarities by their positions.
        is_near_edge: which fine bins hold pairs that the product may put on the wrong side.
    """

    edges: Tensor
    per_unit: float
    origin: float
    rounding: float
    tolerance: Tensor
    is_near_edge: Tensor

    @classmethod
    def fit(cls, edges: Tensor, approximation: Approximation) -> "_Bins":
        bins, low = len(edges) - 1, float(edges[0])
        width = (float(edges[-1]) - low) / bins
        per_unit = max(approximation.unit / width, _LEAST_RATE)
        rounding = 2 * (bins + 2) * torch.finfo(approximation.precision).eps
        error = approximation.tolerance.max() * per_unit + rounding
        edge, size = torch.arange(1, bins + 1, device=edges.device), (bins + 1) * FINE
        begin, end = (((edge + off) * FINE).long().clamp_(0, size) for off in (-error, error))
        near = cover(begin, (end + 1).clamp_(max=size), size)
        tolerance = approximation.tolerance.max() * approximation.unit + rounding * width
        return cls(edges, per_unit, 1 - low / width, rounding, tolerance, near)

    def find(self, product: Tensor) -> tuple[Tensor, Tensor]:
        """Find the positions of products, and the numbers of their fine bins."""
        origin = product.new_tensor(self.origin)
        position = torch.add(origin, product, alpha=self.per_unit)
        position.clamp_(0.5, len(self.edges) - 0.5 / FINE)
        return position, position.mul(FINE).int()


def _find_nearest(block: Block, index: Tensor, k: int) -> Neighbors:
    """Find the k nearest impostors of each query."""
    i, j = find_greatest(block.product, block.tolerance, k)
    similarity = block.score(i, j)
    order = order_pairs(i, similarity, index[j])
    return Neighbors.of_pairs(i[order], similarity[order], j[order], len(block.product), k)


def _count_in_bins(block: Block, bins: _Bins) -> tuple[Tensor, Tensor]:
    """Count pairs in bins, by the definition if near to an edge, and in fine bins."""
    count = len(bins.edges) - 1
    position, number = bins.find(block.product)
    fine = torch.bincount(number.flatten(), minlength=(count + 1) * FINE)
    counts = fine.view(-1, FINE).sum(dim=1)
    place = find_marked(number, bins.is_near_edge)
    off_edge = position.flatten().index_select(0, place).sub_(0.5).frac_().sub_(0.5).abs_()
    i, j = block.rows_at(place)
    is_near = off_edge <= bins.per_unit * block.tolerance.index_select(0, i) + bins.rounding
    is_near &= block.product.flatten().index_select(0, place) > -torch.inf
    near = is_near.nonzero()[:, 0]
    place, i, j = (field.index_select(0, near) for field in (place, i, j))
    counts -= torch.bincount(number.flatten().index_select(0, place) // FINE, minlength=count + 1)
    exact = torch.bucketize(block.score(i, j), bins.edges[1:-1], right=True)
    counts[1:] += torch.bincount(exact, minlength=count)
    return counts[1:], fine[FINE:]
