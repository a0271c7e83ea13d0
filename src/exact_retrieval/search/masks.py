"""Find the true entries of masks that have few of them."""

import torch
from jaxtyping import Bool, Int64
from torch import Tensor

_BYTES = 8  # of a word


def find_few(mask: Bool[Tensor, "Q R"]) -> tuple[Int64[Tensor, " N"], Int64[Tensor, " N"]]:
    """Find rows and columns as `torch.nonzero` does, several times faster if few are true.

    Eight entries are looked at together, as one word; only words that are not zero are taken apart.

    Example:
        >>> find_few(torch.tensor([8 * [False], 5 * [False] + 3 * [True]]))
        (tensor([1, 1, 1]), tensor([5, 6, 7]))
    """
    if mask.shape[1] % _BYTES or not mask.is_contiguous():
        row, column = mask.nonzero().unbind(1)
        return row, column
    row, word = mask.view(torch.int64).nonzero().unbind(1)
    found, byte = mask.view(len(mask), -1, _BYTES)[row, word].nonzero().unbind(1)
    return row[found], word[found] * _BYTES + byte
