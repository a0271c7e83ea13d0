"""Places of many matches among the impostors of a query, by sorting all products of the query.

Products become integers in the same order, because torch sorts those several times faster.
Only impostors that these integers cannot tell from a match are scored.
"""

from collections.abc import Callable
from typing import NamedTuple

import torch
from jaxtyping import Bool, Float64, Int32, Int64
from torch import Tensor
from torch.nn.functional import pad

from .pairs import place_in_query
from .placing import Matches, count_undecided, union_of_ranges

_GREATEST = 2**31 - 2**10  # of the integers, with room for rounding
_LONG = 2**15  # of a vector that torch sorts by its digits
_NARROWEST = 2.0**-900  # range of products, so that its inverse is finite


class _Scale(NamedTuple):
    """How products become integers.

    Attributes:
        origin: product that becomes 1.
        steps: integers per unit of the product.
    """

    origin: Float64[Tensor, ""]
    steps: Float64[Tensor, ""]

    @classmethod
    def fit(cls, product: Float64[Tensor, "Q R"]) -> "_Scale":
        """Use all integers for the products that there are."""
        least, greatest = product.aminmax()
        return cls(least, _GREATEST / (greatest - least).clamp_(min=_NARROWEST))

    def number(self, product: Float64[Tensor, "*shape"]) -> Int32[Tensor, "*shape"]:
        """Turn products into integers from 1 on; a greater product never has a smaller integer."""
        return (product - self.origin).mul_(self.steps).clamp_(0, _GREATEST).add_(1).int()


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
    queries, references = product.shape
    scale = _Scale.fit(product)
    number, order = _sort_rows(scale.number(product).masked_fill_(is_own, 0))
    floor = product.gather(1, order[:, -1:]) - 2 * tolerance[:, None]
    top = torch.searchsorted(number, scale.number(floor))[:, 0]
    first, behind = _search(number, matches.query, scale.number(low), scale.number(high))
    before = references - behind
    undecided = (behind > first).nonzero()[:, 0]
    some = Matches(*(field[undecided] for field in matches))
    start = torch.arange(queries, device=index.device) * references
    begin, end = start[some.query] + first[undecided], start[some.query] + behind[undecided]
    position = union_of_ranges(
        torch.cat([begin, start + top]), torch.cat([end, start + references]), product.numel()
    )
    query, reference = position // references, order.flatten()[position]
    similarity = score(query, reference)
    nearest = tolerance.new_full((queries,), -torch.inf)
    nearest.scatter_reduce_(0, query, similarity, "amax")
    before[undecided] += count_undecided(
        some,
        Matches(query, similarity, index[reference]),
        position,
        behind=end,
        end=start[some.query] + references,
    )
    return before, nearest


def _sort_rows(
    number: Int32[Tensor, "Q R"],
) -> tuple[Int32[Tensor, "Q R"], Int64[Tensor, "Q R"]]:
    """Sort integers from 0 to `_GREATEST` + 1 in each row, as torch does fastest.

    It sorts long vectors of integers by their digits, but neither matrices nor short vectors.
    """
    width = number.shape[1]
    padded = pad(number, (0, max(_LONG - width, 0)), value=_GREATEST + 2)
    order = torch.empty_like(number, dtype=torch.int64)
    for row, values in enumerate(padded):
        ordered, places = values.sort()
        number[row], order[row] = ordered[:width], places[:width]
    return number, order


def _search(
    number: Int32[Tensor, "Q R"],
    query: Int64[Tensor, " N"],
    low: Int32[Tensor, " N"],
    high: Int32[Tensor, " N"],
) -> tuple[Int64[Tensor, " N"], Int64[Tensor, " N"]]:
    """Find in ascending rows where numbers from `low` on begin, and those up to `high` end."""
    first = _search_rows(number, query, low, right=False)
    following = number[query, first.clamp(max=number.shape[1] - 1)]
    wide = (following <= high).nonzero()[:, 0]  # a few; elsewhere nothing is in between
    behind = first.clone()
    behind[wide] = _search_rows(number, query[wide], high[wide], right=True)
    return first, behind


def _search_rows(
    number: Int32[Tensor, "Q R"],
    query: Int64[Tensor, " N"],
    value: Int32[Tensor, " N"],
    *,
    right: bool,
) -> Int64[Tensor, " N"]:
    """Do as `torch.searchsorted`, each value in the row of its query, which ascend."""
    count = torch.bincount(query, minlength=len(number))
    place = query, place_in_query(count)
    values = number.new_ones((len(number), int(count.max())))
    values[place] = value
    return torch.searchsorted(number, values, right=right)[place]
