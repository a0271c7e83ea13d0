"""Rounding rows to low precision."""

import torch
from torch import Tensor

LEVELS = 127  # greatest magnitude of an int8 entry that is used
SMALLEST_STEP = 2.0**-60  # that int8 entries are multiples of: what is divided by it stays finite


def round_rows(exact: Tensor, precision: torch.dtype) -> tuple[Tensor, Tensor]:
    """Round rows, and measure what that removes.

    Args:
        exact: rows [N, D], float32 or float64.
        precision: dtype to round to. In int8, entries beyond 127 are cut.

    Returns:
        Rows of ``precision``, which may be ``exact`` itself, and the norms [N] of their errors.

    Example:
        >>> round_rows(torch.tensor([[100.5, -0.25], [129.0, 2.0]]), torch.int8)
        (tensor([[100,   0],
                [127,   2]], dtype=torch.int8), tensor([0.5590, 2.0000]))
    """
    if precision == exact.dtype:
        return exact, exact.new_zeros(len(exact))
    if precision == torch.int8:
        nearest = exact.round().clamp_(-LEVELS, LEVELS)
        rows, error = nearest.to(precision), nearest.sub_(exact)
    else:
        rows = exact.to(precision)
        error = exact - rows
    return rows, torch.linalg.vector_norm(error, dim=1)
