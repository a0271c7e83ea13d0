"""One pass over the impostors of every query: the references of other identities."""

from dataclasses import dataclass, replace
from typing import NamedTuple

import torch
from jaxtyping import Float, Float64, Int64
from torch import Tensor

from .approximation import SPAN, Approximation, approximate, multiply_rows
from .masks import find_few
from .placing import Candidates, Matches, find_candidates, place
from .scoring import Distance, pair_similarity
from .sorted_rows import place_in_rows

_LAST = 2**62  # number behind those of all references


class Sizes(NamedTuple):
    """How the work is cut; no result depends on it.

    Attributes:
        queries: that meet all references before the next do.
        products: of these queries with some references: they stay in the caches.
        held: pairs that are placed among the matches at once.
        many: matches of a query from which sorting all of its products, in float64, costs less than
            looking for those that are near to a match.
    """

    queries: int = 1024
    products: int = 2**20
    held: int = 2**20
    many: int = 512


FINE = 256  # fine bins in a bin


class Impostors(NamedTuple):
    """The references of other identities, as each query meets them.

    Attributes:
        before: how many rank before each match.
        nearest: the greatest similarity to one; `-inf` where there is none.
        histogram: pairs of a query and an impostor in each bin of similarity.
        fine: likewise in `FINE` times as many bins, but by similarities that are only approximate.
        tolerance: bound of the errors of these similarities.
    """

    before: Int64[Tensor, " N"]
    nearest: Float64[Tensor, " Q"]
    histogram: Int64[Tensor, " B"]
    fine: Int64[Tensor, " F"]
    tolerance: Float64[Tensor, ""]

    def plus(self, other: "Impostors") -> "Impostors":
        """Add what the same queries meet among other references."""
        return Impostors(
            self.before + other.before,
            torch.maximum(self.nearest, other.nearest),
            self.histogram + other.histogram,
            self.fine + other.fine,
            torch.maximum(self.tolerance, other.tolerance),
        )


@torch.no_grad()
def compare_impostors(
    query: Float[Tensor, "Q D"],
    query_label: Int64[Tensor, " Q"],
    reference: Float[Tensor, "R D"],
    reference_label: Int64[Tensor, " R"],
    index: Int64[Tensor, " R"],
    matches: Matches,
    edges: Float64[Tensor, " E"],
    *,
    distance: Distance = "cosine",
    sizes: Sizes = Sizes(),  # noqa: B008  # a constant
) -> Impostors:
    """Compare every query with the references of other labels, exactly.

    References rank by :func:`~.scoring.pair_similarity`, the lower index first where similarities
    are equal. A bin holds its lower edge, the last one both. `Impostors.plus` puts together what
    disjoint sets of references give.

    Args:
        query: embeddings.
        query_label: who is in each query.
        reference: embeddings of the same dtype and on the same device.
        reference_label: likewise.
        index: what the references are numbered by; all different.
        matches: whose places are asked for; they may lie elsewhere than in `reference`.
        edges: of the bins, in equal steps; no similarity lies outside.
        distance: what to rank by.
        sizes: how the work is cut.

    Returns:
        Counts and similarities. Beyond that, the function holds the coordinates of all
        embeddings in the precision of the product, O(Q + R + N + B) numbers and a constant.

    Raises:
        ValueError: for embeddings without finite similarities, or that do not fit each other.

    Example:
        >>> reference = torch.tensor([[1.0, 0.0], [0.0, 2.0], [3.0, 4.0]])
        >>> label = torch.tensor([7, 8, 9])
        >>> match = Matches(torch.tensor([0]), torch.tensor([0.8]).double(), torch.tensor([2]))
        >>> query, edges = torch.tensor([[0.0, 1.0]]), torch.linspace(-1, 1, 3).double()
        >>> compare_impostors(
        ...     query, label[2:], reference, label, torch.arange(3), match, edges
        ... ).before
        tensor([1])
    """
    is_dense = len(matches.query) > sizes.many * len(query)
    approximation, x, y = approximate(query, reference, distance=distance, sharp=is_dense)
    bins = _Bins.fit(edges, approximation)
    size = max(sizes.held // len(reference), 1) if is_dense else sizes.queries
    before, nearest = [], []
    histogram = index.new_zeros(len(edges) - 1)
    fine = index.new_zeros(len(histogram) * FINE)
    for first in range(0, len(query), size):
        some = slice(first, min(first + size, len(query)))
        block = _Block(
            query[some],
            query_label[some],
            matches.of(some),
            approximation.tolerance[some],
            reference,
            reference_label,
            index,
            approximation.unit,
            bins.of(some),
            distance,
            sizes,
        )
        compare = block.compare_rows if is_dense else block.compare_tiles
        found = compare(x[some], y)
        before.append(found.before)
        nearest.append(found.nearest)
        histogram += found.histogram
        fine += found.fine
    tolerance = bins.error.max() / bins.per_unit * approximation.unit
    return Impostors(torch.cat(before), torch.cat(nearest), histogram, fine, tolerance)


@dataclass(frozen=True)
class _Bins:
    """Bins of similarity, in units of the product.

    Positions among the edges count from 1. What is left out, or far below the first edge, is at
    0.5.

    Attributes:
        edges: similarities.
        per_unit: bins that a product of 1 spans.
        origin: position of a product of 0.
        error: bound of the errors of the positions, for each query.
    """

    edges: Tensor
    per_unit: float
    origin: float
    error: Tensor

    @classmethod
    def fit(cls, edges: Tensor, approximation: Approximation) -> "_Bins":
        low, high = (float(edge) / approximation.unit for edge in (edges[0], edges[-1]))
        per_unit = (len(edges) - 1) / (high - low)
        rounding = 4 * (len(edges) + 1) * torch.finfo(approximation.precision).eps
        error = approximation.tolerance * per_unit + rounding
        return cls(edges, per_unit, 1 - low * per_unit, error)

    def of(self, some: slice) -> "_Bins":
        """Restrict the errors to some of the queries."""
        return replace(self, error=self.error[some])

    def find(self, product: Tensor) -> tuple[Tensor, Tensor]:
        """Find the positions of products, and the numbers of their fine bins."""
        origin = product.new_tensor(self.origin)
        position = torch.add(origin, product, alpha=self.per_unit)
        position.clamp_(0.5, len(self.edges) - 0.5 / FINE)
        return position, position.mul(FINE).int()


class _Found(NamedTuple):
    """What some queries meet among all references, as in `Impostors`."""

    before: Tensor
    nearest: Tensor
    histogram: Tensor
    fine: Tensor


@dataclass(frozen=True)
class _Block:
    """Some queries with their matches and with all references.

    Attributes:
        tolerance: bound of the errors of the products, for each query.
        unit: what a product of 1 stands for.
    """

    query: Tensor
    query_label: Tensor
    matches: Matches
    tolerance: Tensor
    reference: Tensor
    reference_label: Tensor
    index: Tensor
    unit: float
    bins: _Bins
    distance: Distance
    sizes: Sizes

    def compare_tiles(self, x: Tensor, y: Tensor) -> _Found:
        """Multiply the queries' coordinates with those of all references, and look at each tile."""
        top = torch.full_like(self.tolerance, -SPAN)
        nearest = torch.full_like(top, -torch.inf)
        before = torch.zeros_like(self.matches.index)
        histogram = self.index.new_zeros(len(self.bins.edges) - 1)
        fine = self.index.new_zeros(len(histogram) * FINE)
        low, high = self._windows(self.matches)
        floor = top.neg().scatter_reduce(0, self.matches.query, low, "amin")
        held: list[Candidates] = []
        width = max(self.sizes.products // len(x), 1)
        for start in range(0, len(y), width):
            product = multiply_rows(x, y[start : start + width])
            own = self.query_label[:, None] == self.reference_label[start : start + width]
            product[find_few(own)] = -torch.inf
            exactly, finely = self._count_in_bins(product, start)
            histogram += exactly
            fine += finely
            self._raise_nearest(nearest, top, product, start)
            held.append(find_candidates(product, floor, start, len(y)))
            if start + width >= len(y) or sum(len(part.key) for part in held) > self.sizes.held:
                before += place(held, low, high, self.matches, self.index, self._score)
                held = []
        return _Found(before, nearest, histogram, fine)

    def compare_rows(self, x: Tensor, y: Tensor) -> _Found:
        """Multiply the queries' coordinates with those of all references, and sort each row.

        The edges of the bins are placed like matches, behind all impostors of equal similarity.
        """
        own = self.query_label[:, None] == self.reference_label
        targets, of_match, of_edge = self._insert(self.bins.edges[1:-1])
        low, high = self._windows(targets)
        product = multiply_rows(x, y)
        before, nearest = place_in_rows(
            product, own, low, high, self.tolerance, targets, self.index, self._score
        )
        reach = before[of_edge].sum(dim=0)
        none, impostors = reach.new_zeros(1), (~own).sum()[None]
        histogram = torch.cat([impostors, reach]) - torch.cat([reach, none])
        _, number = self.bins.find(product)
        number.masked_fill_(own, 0)
        fine = torch.bincount(number.flatten(), minlength=len(self.bins.edges) * FINE)[FINE:]
        return _Found(before[of_match], nearest, histogram, fine)

    def _insert(self, edges: Tensor) -> tuple[Matches, Tensor, Tensor]:
        """Put edges [E] behind the matches of each query; also return where both are."""
        query = torch.arange(len(self.query), device=edges.device)[:, None]
        end = torch.searchsorted(self.matches.query, query, right=True)
        of_edge = end + query * len(edges) + torch.arange(len(edges), device=edges.device)
        of_match = self.matches.query * len(edges)
        of_match += torch.arange(len(of_match), device=edges.device)
        last = query.new_tensor(_LAST)
        columns = []
        for mine, other in zip(self.matches, (query, edges, last), strict=True):
            column = mine.new_empty(len(of_match) + of_edge.numel())
            column[of_match], column[of_edge] = mine, other
            columns.append(column)
        return Matches(*columns), of_match, of_edge

    def _score(self, query: Tensor, reference: Tensor) -> Tensor:
        return pair_similarity(self.query, self.reference, query, reference, distance=self.distance)

    def _windows(self, matches: Matches) -> tuple[Tensor, Tensor]:
        """Bounds of the products [N] between which an impostor may tie with a match."""
        value = matches.similarity / self.unit
        tolerance = self.tolerance[matches.query]
        return value - tolerance, value + tolerance

    def _raise_nearest(self, nearest: Tensor, top: Tensor, product: Tensor, start: int) -> None:
        """Update the greatest similarities [Q] and the greatest products [Q]."""
        greatest = product.amax(dim=1).double()
        torch.maximum(top, greatest, out=top)
        floor = top - 2 * self.tolerance
        row = (greatest >= floor).nonzero()[:, 0]
        i, j = (product[row] >= floor[row, None]).nonzero().unbind(1)
        nearest.scatter_reduce_(0, row[i], self._score(row[i], j + start), "amax")

    def _count_in_bins(self, product: Tensor, start: int) -> tuple[Tensor, Tensor]:
        """Count pairs in bins, by the definition if near to an edge, and in fine bins."""
        edges = self.bins.edges
        bins = len(edges) - 1
        position, number = self.bins.find(product)
        fine = torch.bincount(number.flatten(), minlength=(bins + 1) * FINE)
        counts = fine.view(-1, FINE).sum(dim=1)
        off_centre = position.clamp_(max=bins + 0.5).frac_().sub_(0.5).abs_()
        tolerance = self.bins.error.to(position.dtype)
        i, j = find_few(off_centre >= 0.5 - tolerance[:, None])
        counts -= torch.bincount(number[i, j] // FINE, minlength=bins + 1)
        similarity = self._score(i, j + start)
        exact = torch.bucketize(similarity, edges[1:-1], right=True)
        is_impostor = product[i, j] > -torch.inf
        counts[1:] += torch.bincount(exact[is_impostor], minlength=bins)
        return counts[1:], fine[FINE:]
