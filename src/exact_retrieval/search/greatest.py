"""Find the entries of a product that may be among the greatest of their row."""

import torch
from jaxtyping import Float, Float64, Int64
from torch import Tensor

from .tiles import block_size

_BLOCKS = 32  # for each entry wanted, at least: so few blocks hold two of them


def find_greatest(
    product: Float[Tensor, "Q R"], tolerance: Float64[Tensor, " Q"], k: int
) -> tuple[Int64[Tensor, " N"], Int64[Tensor, " N"]]:
    """Find what is among the k greatest of a row, if each entry is off by at most the tolerance.

    The row is cut into blocks, and the k-th greatest of their maxima is not above the k-th greatest
    entry. So only blocks that reach it, but for the tolerance of both, are looked into.

    Args:
        product: entries; those of `-inf` are not found.
        tolerance: bound of the errors, for each row.
        k: how many are wanted; fewer where there are not so many.

    Returns:
        The rows, ascending, and the columns.

    Example:
        >>> product = torch.tensor([[0.1, 0.5, 0.4], [0.3, 0.2, -torch.inf]])
        >>> find_greatest(product, torch.tensor([0.1, 0.0]).double(), 1)
        (tensor([0, 0, 1]), tensor([1, 2, 0]))
    """
    columns = product.shape[1]
    size = block_size(columns, _BLOCKS * k)
    blocks = columns // size  # block b has the columns b, b + blocks, b + 2 blocks, ...
    whole = blocks * size
    maxima = product[:, :whole].unflatten(1, (size, blocks)).amax(dim=1)
    first = maxima[:, : columns - whole]
    torch.maximum(first, product[:, whole:], out=first)
    floor = maxima.topk(min(k, blocks)).values[:, -1].double() - 2 * tolerance
    floor = floor.to(product.dtype).nextafter(product.new_tensor(-torch.inf))
    floor = floor.clamp(min=torch.finfo(product.dtype).min)
    row, block = (maxima >= floor[:, None]).nonzero().unbind(1)
    column = block[:, None] + blocks * torch.arange(size + 1, device=product.device)
    is_member = column < columns
    column = column.where(is_member, 0)
    value = product.flatten()[row[:, None] * columns + column]
    found, member = (is_member & (value >= floor[row, None])).nonzero().unbind(1)
    return row[found], column[found, member]
