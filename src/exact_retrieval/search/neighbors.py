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
