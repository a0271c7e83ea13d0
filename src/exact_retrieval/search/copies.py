"""References that equal others bit for bit."""

import torch
from jaxtyping import Float, Int64
from torch import Tensor

from .bits import as_integers
from .pairs import number_in_runs

_CHUNK = 2**20  # elements of a temporary


def first_copies(
    reference: Float[Tensor, "R D"], groups: Int64[Tensor, " R"] | None, k: int
) -> Int64[Tensor, " N"]:
    """Drop rows that have so many equals before them that no query can have them among its k.

    Equal rows tie for every query, and the first ones win. Without groups, only the first k copies
    of a row can be returned. A query excludes at most one group: of the copies in one group only
    the first k can be returned, and of all of these only the first 2 k.

    Returns:
        The indices of the rows that stay, ascending.
    """
    row = _number_rows(reference)
    if groups is None:
        return (_count_earlier(row) < k).nonzero()[:, 0]
    kept = (_count_earlier(row, groups) < k).nonzero()[:, 0]
    return kept[_count_earlier(row[kept]) < 2 * k]


def _number_rows(rows: Tensor) -> Tensor:
    """Number rows [N, D] so that equal numbers mean equal bits.

    Each row is compared with its predecessor in the order of a hash. Where hashes collide, equal
    rows may get several numbers.
    """
    bits = as_integers(rows.contiguous())
    generator = torch.Generator().manual_seed(0)
    odd = torch.randint(-(2**62), 2**62, (bits.shape[1],), generator=generator) * 2 + 1
    size = max(1, _CHUNK // bits.shape[1])
    code, order = torch.cat(
        [(part * odd.to(bits.device)).sum(dim=1) for part in torch.split(bits, size)]
    ).sort()
    new = torch.ones_like(code, dtype=torch.bool)
    new[1:] = code[1:] != code[:-1]
    for same in torch.split((~new).nonzero()[:, 0], size):
        new[same] = (bits[order[same - 1]] != bits[order[same]]).any(dim=1)
    return torch.empty_like(order).scatter_(0, order, new.cumsum(0))


def _count_earlier(*keys: Tensor) -> Tensor:
    """Count for each entry [N] the earlier ones that are equal in all keys."""
    order = torch.arange(len(keys[0]), device=keys[0].device)
    for key in keys:
        order = order[key[order].argsort(stable=True)]
    return torch.empty_like(order).scatter_(0, order, number_in_runs(*(k[order] for k in keys)))
