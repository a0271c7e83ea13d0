"""Rounding rows to low precision."""

import torch
from jaxtyping import Float, Shaped
from torch import Tensor

LEVELS = 127  # greatest magnitude of an int8 entry that is used
_SMALLEST_STEP = 2.0**-60  # that int8 entries are multiples of: what is divided by it stays finite


def int8_steps(greatest: Float[Tensor, " N"]) -> Float[Tensor, " N"]:
    """Return what int8 entries have to be multiples of to reach some magnitudes."""
    return (greatest / LEVELS).clamp_min(_SMALLEST_STEP)


def round_rows(
    exact: Float[Tensor, "*rows D"], precision: torch.dtype
) -> tuple[Shaped[Tensor, "*rows D"], Float[Tensor, "*rows"]]:
    """Round rows to a precision, and measure what that removes.

    Args:
        exact: float32 or float64; for int8 in units of the step, which makes them at most 127.
        precision: dtype to round to.

    Returns:
        Rows of ``precision``, which may be ``exact`` itself, and the norms of their errors.

    Example:
        >>> round_rows(torch.tensor([[100.5, -0.25], [127.0, 2.0]]), torch.int8)
        (tensor([[100,   0],
                [127,   2]], dtype=torch.int8), tensor([0.5590, 0.0000]))
    """
    if precision == exact.dtype:
        return exact, exact.new_zeros(exact.shape[:-1])
    if precision == torch.int8:
        nearest = exact.round().clamp_(-LEVELS, LEVELS)
        rows, error = nearest.to(precision), nearest.sub_(exact)
    else:
        rows = exact.to(precision)
        error = exact - rows
    return rows, torch.linalg.vector_norm(error, dim=-1)
