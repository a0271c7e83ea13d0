"""Rounding rows to low precision."""

import torch
from torch import Tensor

LEVELS = 127  # greatest magnitude of an int8 entry that is used
SMALLEST_STEP = 2.0**-60  # of int8: what is divided by it stays finite


def round_rows(
    exact: Tensor, precision: torch.dtype, step: Tensor | None = None
) -> tuple[Tensor, Tensor, Tensor]:
    """Round rows, and measure what that removes.

    Args:
        exact: rows [N, D], float32 or float64, which may be overwritten.
        precision: dtype to round to.
        step: of int8, what its entries are multiples of; None for the least step of each row with
            which no entry exceeds the range. An entry that does is cut.

    Returns:
        Rows of ``precision``; the step of each [N], 1 but for int8; and the norm [N] of
        ``exact - step * rows``.

    Example:
        >>> round_rows(torch.tensor([[12.7, -0.13]]), torch.int8)
        (tensor([[127,  -1]], dtype=torch.int8), tensor([0.1000]), tensor([0.0300]))
    """
    if precision == exact.dtype:
        return exact, exact.new_ones(len(exact)), exact.new_zeros(len(exact))
    if precision != torch.int8:
        rows = exact.to(precision)
        return rows, exact.new_ones(len(exact)), torch.linalg.vector_norm(exact.sub_(rows), dim=1)
    if step is None:
        step = (exact.abs().amax(dim=1) / LEVELS).clamp_min_(SMALLEST_STEP)
    step = step.expand(len(exact))
    exact.mul_(step.reciprocal()[:, None])
    nearest = exact.round().clamp_(-LEVELS, LEVELS)
    error: Tensor = torch.linalg.vector_norm(exact.sub_(nearest), dim=1)
    return nearest.to(torch.int8), step, error * step
