"""The order of pairs of a query and a reference."""

import torch
from torch import Tensor

from .bits import descending


def rank_pairs(query: Tensor, similarity: Tensor, reference: Tensor) -> tuple[Tensor, Tensor]:
    """Sort pairs by query, descending similarity and ascending reference.

    Args:
        query: int64 [N].
        similarity: floating [N], neither NaN nor negative zero.
        reference: int64 [N].

    Returns:
        The order [N], and in that order the rank of each pair in its query, from 0.

    Example:
        >>> query, similarity = torch.tensor([1, 0, 1, 1]), torch.tensor([0.5, 0.2, 0.7, 0.5])
        >>> rank_pairs(query, similarity, torch.tensor([9, 4, 6, 3]))
        (tensor([1, 2, 3, 0]), tensor([0, 0, 1, 2]))
    """
    order = reference.argsort()
    order = order[descending(similarity[order]).argsort(stable=True)]
    return rank_in_query(query, order)


def rank_in_query(query: Tensor, order: Tensor) -> tuple[Tensor, Tensor]:
    """Sort pairs that are in some order [N] by query; return that order and ranks in a query."""
    order = order[query[order].argsort(stable=True)]
    count = torch.bincount(query)
    start = count.cumsum(0) - count
    position = torch.arange(len(order), device=order.device)
    return order, position - start[query[order]]
