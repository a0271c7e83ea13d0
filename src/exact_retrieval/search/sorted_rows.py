"""Places of many matches among the impostors of a query, by sorting all products of the query.

Products become integers in the same order, because torch sorts a row of those ten times faster.
Only impostors that these integers cannot tell from a match are scored.
"""

from collections.abc import Callable, Iterator
from typing import NamedTuple

import torch
from jaxtyping import Bool, Float64, Int32, Int64
from torch import Tensor

from .placing import Matches, count_before

_GREATEST = 2**31 - 2**10  # of the integers, with room for rounding
_NARROWEST = 2.0**-900  # range of products, so that its inverse is finite


class SortedRow(NamedTuple):
    """The products of one query with all references, ascending.

    Attributes:
        number: integer that stands for each product; 0 for references that are no impostors.
        order: row of each reference.
        origin: product whose integer is 1.
        scale: integers per unit of the product.
    """

    number: Int32[Tensor, " R"]
    order: Int64[Tensor, " R"]
    origin: Float64[Tensor, ""]
    scale: Float64[Tensor, ""]

    @classmethod
    def sort(
        cls, product: Float64[Tensor, "Q R"], is_own: Bool[Tensor, "Q R"]
    ) -> Iterator["SortedRow"]:
        """Sort the products of each query; those of its own identity come first."""
        origin, greatest = product.aminmax()
        scale = _GREATEST / (greatest - origin).clamp_(min=_NARROWEST)
        for row in _number(product, origin, scale).masked_fill_(is_own, 0):
            ordered, order = row.sort()
            yield cls(ordered, order, origin, scale)

    def find(
        self, low: Float64[Tensor, " T"], high: Float64[Tensor, " T"]
    ) -> tuple[Int64[Tensor, " T"], Int64[Tensor, " T"]]:
        """Find positions: impostors before `first` are below `low`, from `behind` on above `high`.

        Returns:
            `first` and `behind`, each from 0 to R.
        """
        first = torch.searchsorted(self.number, _number(low, self.origin, self.scale))
        last = _number(high, self.origin, self.scale)
        behind = first.clone()
        wide = (self.number[first.clamp(max=len(self.number) - 1)] <= last).nonzero()[:, 0]
        behind[wide] = torch.searchsorted(self.number, last[wide], right=True)
        return first, behind


def place_in_rows(
    product: Float64[Tensor, "Q R"],
    is_own: Bool[Tensor, "Q R"],
    low: Float64[Tensor, " N"],
    high: Float64[Tensor, " N"],
    tolerance: Float64[Tensor, " Q"],
    matches: Matches,
    index: Int64[Tensor, " R"],
    score: Callable[[Tensor, Tensor], Tensor],
) -> tuple[Int64[Tensor, " N"], Float64[Tensor, " Q"]]:
    """Count the impostors that rank before each match, and find the nearest.

    Args:
        product: approximate similarities.
        is_own: whether the reference has the query's identity, so that it is no impostor.
        low: products below it rank behind the match.
        high: products above it rank before the match.
        tolerance: bound of the error of the products of each query.
        matches: ascending by query.
        index: numbers of the references, the lower of which wins a tie.
        score: the similarity of pairs of rows, by the definition.

    Returns:
        The counts, and the greatest similarities to an impostor; `-inf` where there is none.
    """
    counts = torch.bincount(matches.query, minlength=len(product)).tolist()
    rows = zip(SortedRow.sort(product, is_own), low.split(counts), high.split(counts), strict=True)
    before, near, is_open, known = [], [], [], []
    for row, (ordered, lows, highs) in enumerate(rows):
        first, behind = ordered.find(lows, highs)
        before.append(len(index) - behind)
        is_open.append(behind > first)
        first, behind = first[is_open[-1]], behind[is_open[-1]]
        floor = (product[row, ordered.order[-1]] - 2 * tolerance[row])[None]
        top, _ = ordered.find(floor, floor)
        position = _union(torch.cat([first, top]), behind, len(index))
        known.append(len(position) - torch.searchsorted(position, behind))
        near.append(ordered.order[position])
    query = torch.repeat_interleave(index.new_tensor([len(each) for each in near]))
    reference = torch.cat(near)
    similarity = score(query, reference)
    nearest = tolerance.new_full((len(product),), -torch.inf)
    nearest.scatter_reduce_(0, query, similarity, "amax")
    places, undecided = torch.cat(before), torch.cat(is_open)
    some = Matches(*(field[undecided] for field in matches))
    exact = count_before(some, Matches(query, similarity, index[reference]))
    places[undecided] += exact - torch.cat(known)
    return places, nearest


def _number(product: Tensor, origin: Tensor, scale: Tensor) -> Tensor:
    """Turn products into integers from 1 on; a greater product never has a smaller integer."""
    return (product - origin).mul_(scale).clamp_(0, _GREATEST).add_(1).int()


def _union(first: Tensor, behind: Tensor, size: int) -> Tensor:
    """Positions that lie in any of the ranges [first, behind); the last range ends at the size."""
    mark = first.new_zeros(size + 1)
    mark.scatter_add_(0, first, torch.ones_like(first))
    mark.scatter_add_(0, behind, -torch.ones_like(behind))
    return (mark.cumsum(0)[:-1] > 0).nonzero()[:, 0]
