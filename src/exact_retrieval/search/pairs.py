"""Pairs of a query and a reference: which there are, and their order."""

import torch
from jaxtyping import Float, Int64, Shaped
from torch import Tensor

from .bits import descending
from .threads import map_in_threads

_CHUNK = 2**16  # pairs that are sorted at once, about: they stay in the caches


def order_pairs(
    query: Int64[Tensor, " N"], similarity: Float[Tensor, " N"], reference: Int64[Tensor, " N"]
) -> Int64[Tensor, " N"]:
    """Sort pairs by query, descending similarity and ascending reference.

    Args:
        query: row of the query.
        similarity: neither NaN nor negative zero.
        reference: row of the reference.

    Example:
        >>> query, similarity = torch.tensor([1, 0, 1, 1]), torch.tensor([0.5, 0.2, 0.7, 0.5])
        >>> order_pairs(query, similarity, torch.tensor([9, 4, 6, 3]))
        tensor([1, 2, 3, 0])
    """
    by_query = query.argsort(stable=True)
    ends = torch.bincount(query).cumsum(0)
    wanted = _CHUNK * torch.arange(1, max(len(query) // _CHUNK, 1), device=query.device)
    cuts = ends[torch.searchsorted(ends, wanted)].unique()

    def order(part: Tensor) -> Tensor:
        columns = (column.index_select(0, part) for column in (query, similarity, reference))
        return part.index_select(0, _order(*columns))

    parts = by_query.tensor_split(cuts.tolist())
    return torch.cat(list(map_in_threads(order, parts, query.device)))


def _order(query: Tensor, similarity: Tensor, reference: Tensor) -> Tensor:
    """Sort pairs that are in ascending order of query."""
    is_in_order = ((query.diff() > 0) | (reference.diff() > 0)).all()
    order = torch.arange(len(query), device=query.device) if is_in_order else reference.argsort()
    for key in (descending(similarity), query):
        order = order.index_select(0, key.index_select(0, order).argsort(stable=True))
    return order


def number_in_runs(*keys: Shaped[Tensor, " N"]) -> Int64[Tensor, " N"]:
    """Number the entries of each run from 0. A run is a stretch in which no key changes.

    Example:
        >>> number_in_runs(torch.tensor([3, 3, 5, 5, 5]), torch.tensor([0, 0, 0, 1, 1]))
        tensor([0, 1, 0, 0, 1])
    """
    position = torch.arange(len(keys[0]), device=keys[0].device)
    starts = position == 0
    for key in keys:
        starts[1:] |= key[1:] != key[:-1]
    return position - torch.where(starts, position, 0).cummax(dim=0).values


def join_ranges(start: Int64[Tensor, " Q"], count: Int64[Tensor, " Q"]) -> Int64[Tensor, " N"]:
    """Return the `count` numbers from `start` on, for one query after another.

    Example:
        >>> join_ranges(torch.tensor([5, 0, 0]), torch.tensor([3, 0, 2]))
        tensor([5, 6, 7, 0, 1])
    """
    shift = torch.repeat_interleave(start - (count.cumsum(0) - count), count)
    return shift.add_(torch.arange(len(shift), device=count.device))


def place_in_query(count: Int64[Tensor, " Q"]) -> Int64[Tensor, " N"]:
    """Number the members of each query, one query after another, from 0.

    Example:
        >>> place_in_query(torch.tensor([3, 0, 2]))
        tensor([0, 1, 2, 0, 1])
    """
    return join_ranges(torch.zeros_like(count), count)


def pairs_of_equals(
    first: Int64[Tensor, " N"], second: Int64[Tensor, " M"]
) -> tuple[Int64[Tensor, " P"], Int64[Tensor, " P"]]:
    """Return all pairs of positions that hold the same number.

    Example:
        >>> pairs_of_equals(torch.tensor([3, 5]), torch.tensor([5, 3, 5]))
        (tensor([0, 1, 1]), tensor([1, 0, 2]))
    """
    return pairs_with_sorted(first, *second.sort(stable=True))


def pairs_with_sorted(
    first: Int64[Tensor, " N"], ordered: Int64[Tensor, " M"], order: Int64[Tensor, " M"]
) -> tuple[Int64[Tensor, " P"], Int64[Tensor, " P"]]:
    """Do as `pairs_of_equals`, given what sorting the second numbers returned."""
    start = torch.searchsorted(ordered, first)
    count = torch.searchsorted(ordered, first, right=True) - start
    place = join_ranges(start, count)
    return torch.repeat_interleave(count), order.index_select(0, place)
