"""Buckets against what they promise."""

import pytest
import torch

from src.exact_retrieval.search.buckets import Buckets


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("width", [0.0, 1e-30, 1e-9, 1e-4, 0.3, 30.0])
@pytest.mark.parametrize("middle", [0.0, 1e-20, 0.7, -1.0, 16.0])
def test_bounds_hold_what_is_between(middle: float, width: float, dtype: torch.dtype) -> None:
    generator = torch.Generator().manual_seed(0)
    low = torch.tensor([middle, middle - 1]).double()
    high = low + width
    buckets = Buckets.fit(low, high, 1000, dtype)
    position = torch.rand(2, 500, generator=generator, dtype=torch.float64) * 3 - 1
    product = (low[:, None] + width * position).to(dtype)
    product[:, 0], product[:, 1] = -torch.inf, torch.inf
    product = product.sort(dim=1).values
    found = buckets.find(product)
    assert (found.clamp(min=8).diff(dim=1) >= 0).all()
    assert (found[:, 0] < 8).all()
    assert (found[:, -1] == buckets.count - 1).all()
    first, last = buckets.find_bounds(low, high)
    is_between = (product >= low[:, None]) & (product <= high[:, None])
    is_within = (found >= first[:, None]) & (found <= last[:, None])
    assert (is_within | ~is_between).all()
    # What lies far outside is in buckets of its own.
    assert (first.floor() > 8).all()
    assert (last.floor() < buckets.count - 1).all()


def test_there_are_as_many_as_asked_for() -> None:
    low = torch.zeros(1, dtype=torch.float64)
    counts = [Buckets.fit(low, low + 1, least, torch.float32).count for least in (1, 1024, 1025)]
    assert counts == [128, 1024, 2048]


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_a_range_fills_the_buckets_but_for_margins(dtype: torch.dtype) -> None:
    low = torch.tensor([0.0, -2.0, 16.0], dtype=torch.float64)
    high = low + torch.tensor([1.0, 0.5, 4.0], dtype=torch.float64)
    buckets = Buckets.fit(low, high, 1024, dtype)
    found = buckets.find(torch.stack([low, high], dim=1).to(dtype))
    assert found.dtype == dtype
    assert torch.allclose(found, torch.tensor([16, 1008], dtype=dtype), atol=0.01)


def test_each_row_is_in_the_range_that_is_named() -> None:
    origin, rate = torch.tensor([[0.0], [10.0], [-4.0]]), torch.tensor([[8.0], [2.0], [16.0]])
    buckets = Buckets(origin, rate, 64)
    product, of = torch.tensor([[-3.5], [1.5], [12.0], [1.0]]), torch.tensor([2, 0, 1, 0])
    wanted = torch.tensor([8.0, 12.0, 4.0, 8.0])
    assert torch.equal(buckets.of(of).find(product)[:, 0], wanted)
    first, last = buckets.of(of).find_bounds(*[product[:, 0].double()] * 2)
    assert (first < wanted).all()
    assert (last > wanted).all()
    assert (last - first < 1e-3).all()
