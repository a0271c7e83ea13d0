"""Entries of masks are those that `torch.nonzero` finds."""

import pytest
import torch
from torch import Tensor

from src.exact_retrieval.search.masks import find_few


def of_first_rows(mask: Tensor) -> Tensor:
    return mask[1:]


def of_last_columns(mask: Tensor) -> Tensor:
    return mask[:, 1:]


@pytest.mark.parametrize("shape", [(1, 1), (3, 5), (2, 8), (4, 13), (7, 0), (0, 4), (9, 131)])
@pytest.mark.parametrize("share", [0.0, 0.1, 1.0])
@pytest.mark.parametrize("view", [Tensor.clone, Tensor.t, of_first_rows, of_last_columns])
def test_finds_what_nonzero_finds(shape: tuple[int, int], share: float, view: object) -> None:
    assert callable(view)
    mask = view(torch.rand(shape, generator=torch.Generator().manual_seed(0)) < share)
    assert torch.equal(find_few(mask), mask.flatten().nonzero()[:, 0])
