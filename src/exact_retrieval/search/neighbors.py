"""The nearest references of queries, and the union of two such results."""

from typing import NamedTuple

import torch
from torch import Tensor


class Neighbors(NamedTuple):
    """The nearest references of each query, nearest first.

    Attributes:
        similarity: [Q, k] float64; ``-inf`` where fewer than k references are allowed.
        index: [Q, k] int64, rows of the references; -1 where fewer than k references are allowed.
    """

    similarity: Tensor
    index: Tensor  # type: ignore[assignment]  # the field hides tuple.index


def merge_neighbors(first: Neighbors, second: Neighbors) -> tuple[Neighbors, Tensor]:
    """Keep each query's k best of two disjoint sets of references.

    Args:
        first: neighbours [Q, k] among some references.
        second: neighbours [Q, k'] among others, indices in the same numbering.

    Returns:
        Neighbors [Q, k], greatest similarity first, the lower index first on a tie; and where each
        stood in the concatenation of both, int64 [Q, k].

    Example:
        >>> some = Neighbors(torch.tensor([[0.5]]), torch.tensor([[7]]))
        >>> others = Neighbors(torch.tensor([[0.5]]), torch.tensor([[3]]))
        >>> merge_neighbors(some, others)[0].index
        tensor([[3]])
    """
    similarity = torch.cat([first.similarity, second.similarity], dim=1)
    index = torch.cat([first.index, second.index], dim=1)
    by_index = index.argsort(dim=1)
    by_similarity = similarity.gather(1, by_index).argsort(dim=1, descending=True, stable=True)
    best = by_index.gather(1, by_similarity)[:, : first.index.shape[1]]
    return Neighbors(similarity.gather(1, best), index.gather(1, best)), best
