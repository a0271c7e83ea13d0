"""Rounded rows, and the norms of their errors."""

import pytest
import torch

from src.exact_retrieval.search.rounding import LEVELS, int8_steps, round_rows


@pytest.mark.parametrize("precision", [torch.int8, torch.bfloat16, torch.float32])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("shape", [(7, 5), (3, 2, 9)])
def test_errors_are_what_rounding_removes(
    shape: tuple[int, ...], dtype: torch.dtype, precision: torch.dtype
) -> None:
    exact = 40 * torch.randn(shape, dtype=dtype, generator=torch.Generator().manual_seed(0))
    exact.clamp_(-LEVELS, LEVELS)
    before = exact.clone()
    rows, error = round_rows(exact, precision)
    assert torch.equal(exact, before)
    wanted = exact.round() if precision == torch.int8 else exact
    assert torch.equal(rows, wanted.to(precision))
    removed = (rows.double() - exact.double()).square().sum(dim=-1).sqrt()
    torch.testing.assert_close(error, removed.to(dtype))


def test_what_int8_does_not_reach_is_an_error() -> None:
    rows, error = round_rows(torch.tensor([[130.0, -131.0]]), torch.int8)
    assert rows.tolist() == [[127, -127]]
    assert error.tolist() == [5.0]


def test_steps_reach_the_greatest_magnitude() -> None:
    greatest = torch.tensor([0.0, 2.0**-60, 127.0, 254.0])
    assert int8_steps(greatest).tolist() == [2.0**-60, 2.0**-60, 1.0, 2.0]
