import pytest
import torch

from src.exact_retrieval.search.bits import descending, lowest


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64])
def test_integers_sort_as_the_floats_from_the_greatest(dtype: torch.dtype) -> None:
    info = torch.finfo(dtype)
    ends = [torch.inf, info.max, info.tiny, info.tiny / 2, 0.0]
    values = torch.cat((torch.randn(1000), torch.tensor(ends, dtype=torch.float64))).to(dtype)
    values = torch.cat((values, -values[values != 0])).unique()
    assert torch.equal(descending(values).argsort(), values.argsort(descending=True))


def test_negative_zero_sorts_after_zero() -> None:
    positive, negative = descending(torch.tensor([0.0, -0.0])).tolist()
    assert positive < negative


def test_nothing_is_below_the_lowest() -> None:
    assert lowest(torch.float32) == -torch.inf
    assert lowest(torch.int32) == -(2**31)
