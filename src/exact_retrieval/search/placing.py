"""Places of matches among impostors, from approximate products.

Pairs are sorted by a key of query and product. So all impostors whose product is above that of a
match by more than the tolerance lie behind one position. Only those nearer than that are scored.
"""

from collections.abc import Callable, Sequence
from typing import NamedTuple

import torch
from jaxtyping import Float, Float64, Int64
from torch import Tensor

from .approximation import SPAN
from .masks import find_few
from .pairs import order_pairs

_FRACTION = 26  # bits behind the binary point of a product in a key
_DIGITS = _FRACTION + 6  # all bits of it


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


class Candidates(NamedTuple):
    """Pairs of a query and an impostor that may rank before a match.

    Attributes:
        key: of query and product.
        pair: row of the query times the number of references, plus row of the reference.
    """

    key: Int64[Tensor, " C"]
    pair: Int64[Tensor, " C"]


def find_candidates(
    product: Float[Tensor, "Q R"], floor: Float64[Tensor, " Q"], start: int, references: int
) -> Candidates:
    """Find the pairs whose product reaches a floor.

    Args:
        product: with some of the references; `-inf` for pairs that are no candidates.
        floor: of each query; pairs just below may be found, too.
        start: row of the first of these references.
        references: number of all.
    """
    rounded = floor.to(product.dtype)
    below = torch.nextafter(rounded, rounded.new_tensor(-torch.inf))
    query, reference = find_few(product >= below[:, None])
    key = _key(query, product[query, reference])
    return Candidates(key, query.mul_(references).add_(reference).add_(start))


def place(
    held: Sequence[Candidates],
    low: Float64[Tensor, " N"],
    high: Float64[Tensor, " N"],
    matches: Matches,
    index: Int64[Tensor, " R"],
    score: Callable[[Tensor, Tensor], Tensor],
) -> Int64[Tensor, " N"]:
    """Count the candidates that rank before each match.

    Args:
        held: the candidates, in any order.
        low: products below it rank behind the match.
        high: products above it rank before the match.
        matches: in the order of the ranking.
        index: numbers of the references, the lower of which wins a tie.
        score: the similarity of pairs of rows, by the definition.
    """
    key, pair = held[0]
    if len(held) > 1:
        key, pair = (torch.cat(column) for column in zip(*held, strict=True))
    key, order = key.sort()
    low_key, high_key = _key(matches.query, low), _key(matches.query, high)
    behind = torch.searchsorted(key, high_key, right=True)
    owner, counts = matches.query.unique_consecutive(return_counts=True)
    end = torch.searchsorted(key, (owner + 1) << _DIGITS).repeat_interleave(counts)
    before = end - behind
    is_near = (behind > 0) & (key[behind - 1] >= low_key) if len(key) else behind > 0
    near = is_near.nonzero()[:, 0]
    if not len(near):
        return before
    first, behind, end = torch.searchsorted(key, low_key[near]), behind[near], end[near]
    position = union_of_ranges(first, behind, len(key))
    chosen = pair[order[position]]
    i, j = chosen // len(index), chosen % len(index)
    some = Matches(*(field[near] for field in matches))
    before[near] += count_undecided(
        some, Matches(i, score(i, j), index[j]), position, behind=behind, end=end
    )
    return before


def union_of_ranges(
    begin: Int64[Tensor, " M"], end: Int64[Tensor, " M"], size: int
) -> Int64[Tensor, " N"]:
    """Return the positions below a size that lie in any of the ranges [begin, end).

    Example:
        >>> union_of_ranges(torch.tensor([1, 2, 6]), torch.tensor([3, 4, 6]), 9)
        tensor([1, 2, 3])
    """
    mark = begin.new_zeros(size + 1, dtype=torch.int32)
    mark.scatter_add_(0, begin, torch.ones_like(begin, dtype=torch.int32))
    mark.scatter_add_(0, end, torch.full_like(end, -1, dtype=torch.int32))
    return (mark.cumsum(0, dtype=torch.int32)[:-1] > 0).nonzero()[:, 0]


def count_undecided(
    matches: Matches,
    scored: Matches,
    position: Int64[Tensor, " M"],
    *,
    behind: Int64[Tensor, " N"],
    end: Int64[Tensor, " N"],
) -> Int64[Tensor, " N"]:
    """Count the scored impostors that rank before each match and are not counted yet.

    Args:
        matches: whose places products alone do not decide.
        scored: the impostors, ascending by query.
        position: of each of them among the sorted products, ascending.
        behind: position from which on impostors of the query have been counted.
        end: position behind all impostors of the query.
    """
    counted = torch.searchsorted(position, end) - torch.searchsorted(position, behind)
    return _count_before(matches, scored) - counted


def _count_before(matches: Matches, others: Matches) -> Tensor:
    """Count the others, in ascending order of query, that rank before each match."""
    columns = (torch.cat(column) for column in zip(matches, others, strict=True))
    order = order_pairs(*columns)
    is_other = order >= len(matches.query)
    before = torch.empty_like(matches.query)
    before[order[~is_other]] = is_other.cumsum(0)[~is_other]
    return before - torch.searchsorted(others.query, matches.query)


def _key(query: Tensor, value: Tensor) -> Tensor:
    """Integers in the order of query and then of value."""
    digits = (value.double() + SPAN).mul_(2.0**_FRACTION).long().clamp_(0, 2**_DIGITS - 1)
    return digits.add_(query << _DIGITS)
