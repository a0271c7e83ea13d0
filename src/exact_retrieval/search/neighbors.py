"""The nearest references of queries, and the union of such results."""

from collections.abc import Sequence
from typing import NamedTuple

import torch
from jaxtyping import Float64, Int64
from torch import Tensor

from .bits import descending


class Neighbors(NamedTuple):
    """The nearest references of each query, nearest first.

    Attributes:
        similarity: ``-inf`` where fewer than k references are allowed.
        index: rows of the references; -1 where fewer than k references are allowed.
    """

    similarity: Float64[Tensor, "Q k"]
    index: Int64[Tensor, "Q k"]  # type: ignore[assignment]  # the field hides tuple.index

    @classmethod
    def nothing(cls, queries: int, k: int, device: torch.device) -> "Neighbors":
        """Return what is known before the first reference."""
        similarity = torch.full((queries, k), -torch.inf, dtype=torch.float64, device=device)
        return cls(similarity, torch.full((queries, k), -1, device=device))

    @classmethod
    def of_pairs(
        cls,
        query: Int64[Tensor, " N"],
        similarity: Float64[Tensor, " N"],
        index: Int64[Tensor, " N"],
        queries: int,
        k: int,
    ) -> "Neighbors":
        """Take the first k references of each query, in the order given.

        Args:
            query: rows of the queries, ascending.
            similarity: of the pairs.
            index: of the references.
            queries: how many there are.
            k: number of neighbours.

        Example:
            >>> query, index = torch.tensor([0, 2, 2]), torch.tensor([5, 3, 4])
            >>> Neighbors.of_pairs(query, torch.tensor([0.5, 0.9, 0.2]).double(), index, 3, 1).index
            tensor([[ 5],
                    [-1],
                    [ 3]])
        """
        count = torch.bincount(query, minlength=queries)
        start = count.cumsum(0) - count
        row, place = (torch.arange(k, device=count.device) < count[:, None]).nonzero().unbind(1)
        pair = start[row] + place
        found = cls.nothing(queries, k, query.device)
        found.similarity[row, place], found.index[row, place] = similarity[pair], index[pair]
        return found


def merge_neighbors(first: Neighbors, second: Neighbors) -> tuple[Neighbors, Int64[Tensor, "Q k"]]:
    """Keep each query's k best of two disjoint sets of references.

    Args:
        first: k neighbours among some references.
        second: any number of neighbours among others, indices in the same numbering.

    Returns:
        The k nearest, greatest similarity first, the lower index first on a tie; and where each
        stood in the concatenation of both.

    Example:
        >>> some = Neighbors(torch.tensor([[0.5]]), torch.tensor([[7]]))
        >>> others = Neighbors(torch.tensor([[0.5]]), torch.tensor([[3]]))
        >>> merge_neighbors(some, others)[0].index
        tensor([[3]])
    """
    return select_nearest([first, second], first.index.shape[1])


def select_nearest(parts: Sequence[Neighbors], k: int) -> tuple[Neighbors, Int64[Tensor, "Q k"]]:
    """Keep each query's k best of disjoint sets, which need not be sorted.

    Most rows hold no tie, so indices are sorted only if some row does.

    Returns:
        As :func:`merge_neighbors`.
    """
    similarity, index = (torch.cat(fields, dim=1) for fields in zip(*parts, strict=True))
    order = descending(similarity).argsort(dim=1)
    ranked = similarity.gather(1, order)
    if bool(((ranked[:, 1:] == ranked[:, :-1]) & (ranked[:, 1:] > -torch.inf)).any()):
        by_index = index.argsort(dim=1)
        keys = descending(similarity).gather(1, by_index)
        order = by_index.gather(1, keys.argsort(dim=1, stable=True))
    best = order[:, :k]
    return Neighbors(similarity.gather(1, best), index.gather(1, best)), best
