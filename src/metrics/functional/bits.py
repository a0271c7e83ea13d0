"""Floating numbers seen as the integers of the same bits."""

import torch
from torch import Tensor

_INTEGER = {2: torch.int16, 4: torch.int32, 8: torch.int64}


def as_integers(values: Tensor) -> Tensor:
    """View a floating tensor as integers of its width, without a copy."""
    return values.view(_INTEGER[values.element_size()])
