"""Places of matches among impostors, from approximate products.

The range of a query's matches is cut into buckets of equal width, and the impostors in each are
counted. So all impostors in buckets above a match rank before it, whatever their order. Only those
in the bucket of a match are sorted, and only those that products cannot tell from it are scored.
"""

from collections.abc import Callable
from typing import NamedTuple

import torch
from jaxtyping import Float, Float64, Int64
from torch import Tensor

from .buckets import Buckets
from .masks import cover, find_few, find_marked
from .pairs import order_pairs

_DIGITS = 32  # bits of a position in a key
_SHARE = 4  # references for each bucket


class Matches(NamedTuple):
    """References of the queries' own identities, query by query, as they rank.

    Attributes:
        query: rows of the queries, ascending.
        similarity: to the query, by the definition; descending for one query.
        index: of the reference; ascending for equal similarities.
    """

    query: Int64[Tensor, " N"]
    similarity: Float64[Tensor, " N"]
    index: Int64[Tensor, " N"]  # type: ignore[assignment]  # the field hides tuple.index

    def of(self, some: slice) -> "Matches":
        """Take those of consecutive queries, which then count from 0."""
        bounds = self.query.new_tensor([some.start, some.stop])
        begin, end = torch.searchsorted(self.query, bounds).tolist()
        query, similarity, index = (field[begin:end] for field in self)
        return Matches(query - some.start, similarity, index)


class Windows(NamedTuple):
    """Products between which an impostor may tie with a match; both descend for one query.

    Attributes:
        low: products below it rank behind the match.
        high: products above it rank before the match.
    """

    low: Float64[Tensor, " N"]
    high: Float64[Tensor, " N"]


def count_before(
    product: Float[Tensor, "Q R"],
    windows: Windows,
    matches: Matches,
    index: Int64[Tensor, " R"],
    score: Callable[[Tensor, Tensor], Tensor],
) -> Int64[Tensor, " N"]:
    """Count the impostors that rank before each match.

    Args:
        product: approximate similarities; `-inf` for pairs that are no impostors.
        windows: of the matches.
        matches: in the order of the ranking.
        index: numbers of the references, the lower of which wins a tie.
        score: the similarity of pairs of rows, by the definition.
    """
    buckets = _cut_range(product, windows, matches.query)
    position = buckets.find(product)
    start = buckets.count * torch.arange(len(product), device=index.device)
    number = position.int().add_(start.int()[:, None])
    low, high = buckets.of(matches.query).find_bounds(*windows)
    own = start.index_select(0, matches.query)
    first, last = own + low.long(), own + high.long()
    mark = cover(first, last + 1, buckets.count * len(product))
    counts = torch.bincount(number.flatten(), minlength=len(mark))
    upto = counts.index_fill_(0, find_few(mark), 0).cumsum_(0)
    above = upto.index_select(0, own + (buckets.count - 1)) - upto.index_select(0, last)
    place = find_marked(number, mark)

    def key(query: Tensor, position: Tensor) -> Tensor:
        """Integers in the order of query, and then of position."""
        return (query << _DIGITS).add_((position.double() * (2**_DIGITS / buckets.count)).long())

    query = place // len(index)
    near = key(query, position.flatten().index_select(0, place))
    low_key, high_key = key(matches.query, low), key(matches.query, high)
    end = torch.bincount(query, minlength=len(product)).cumsum(0).index_select(0, matches.query)
    return above + _place(near, place, end, low_key, high_key, matches, index, score)


def _cut_range(product: Tensor, windows: Windows, query: Tensor) -> Buckets:
    """Cut the range of each query's matches."""
    queries, references = product.shape
    count = torch.bincount(query, minlength=queries)
    some = count.nonzero()[:, 0]
    end = count.cumsum(0).index_select(0, some)
    low, high = windows.low.new_zeros((2, queries))
    low[some] = windows.low.index_select(0, end - 1)
    high[some] = windows.high.index_select(0, end - count.index_select(0, some))
    return Buckets.fit(low, high, references // _SHARE, product.dtype)


def _place(
    impostor_key: Tensor,
    place: Tensor,
    end: Tensor,
    low: Tensor,
    high: Tensor,
    matches: Matches,
    index: Tensor,
    score: Callable[[Tensor, Tensor], Tensor],
) -> Tensor:
    """Count the impostors that rank before each match, given their keys and their places.

    Those whose key is below `low` rank behind it, and those whose key is above `high` before it.
    Keys ascend by query first: the first `end` of them belong to the match's query or to an earlier
    one.
    """
    key, order = impostor_key.sort()
    behind = torch.searchsorted(key, high, right=True)
    before = end - behind
    is_near = behind > 0
    if len(key):
        is_near &= key.index_select(0, (behind - 1).clamp_(min=0)) >= low
    near = is_near.nonzero()[:, 0]
    if not len(near):
        return before
    first, behind, end = torch.searchsorted(key, low[near]), behind[near], end[near]
    position = cover(first, behind, len(key)).nonzero()[:, 0]
    chosen = place.index_select(0, order.index_select(0, position))
    query, reference = chosen // len(index), chosen % len(index)
    some = Matches(*(field.index_select(0, near) for field in matches))
    scored = Matches(query, score(query, reference), index.index_select(0, reference))
    counted = torch.searchsorted(position, end) - torch.searchsorted(position, behind)
    before[near] += _count_before(some, scored) - counted
    return before


def _count_before(matches: Matches, others: Matches) -> Tensor:
    """Count the others, in ascending order of query, that rank before each match."""
    columns = (torch.cat(column) for column in zip(matches, others, strict=True))
    order = order_pairs(*columns)
    is_other = order >= len(matches.query)
    before = torch.empty_like(matches.query)
    before[order[~is_other]] = is_other.cumsum(0)[~is_other]
    return before - torch.searchsorted(others.query, matches.query)
