"""The order of pairs of a query and a reference."""

import torch
from jaxtyping import Float, Int64, Shaped
from torch import Tensor

from .bits import descending


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
    same_query = query.diff() == 0
    is_in_order = ((query.diff() > 0) | (same_query & (reference.diff() > 0))).all()
    order = torch.arange(len(query), device=query.device) if is_in_order else reference.argsort()
    order = order[descending(similarity[order]).argsort(stable=True)]
    return order[query[order].argsort(stable=True)]


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
