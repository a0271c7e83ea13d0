"""The greatest entries against sorting."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from src.exact_retrieval.search.greatest import find_greatest


@settings(max_examples=80, deadline=None)
@given(
    st.integers(0, 2**31),
    st.integers(1, 5),
    st.sampled_from([1, 2, 31, 33, 700, 1024, 1100, 2100]),
    st.sampled_from([1, 2, 5, 40]),
    st.sampled_from([0.0, 1e-3, 0.3]),
    st.sampled_from([torch.float32, torch.float64]),
)
def test_finds_all_that_may_be_among_the_greatest(
    seed: int, rows: int, columns: int, k: int, tolerance: float, dtype: torch.dtype
) -> None:
    generator = torch.Generator().manual_seed(seed)
    product = torch.randn(rows, columns, generator=generator, dtype=dtype)
    if seed % 2:
        product = product.mul(3).round()  # many ties
    product[torch.rand(rows, columns, generator=generator) < 0.3] = -torch.inf
    error = torch.full((rows,), tolerance, dtype=torch.float64)
    found = torch.zeros(rows, columns, dtype=torch.bool)
    row, column = find_greatest(product, error, k)
    found[row, column] = True
    assert int(found.sum()) == len(row)
    assert (row.diff() >= 0).all()
    for values, chosen in zip(product.double(), found, strict=True):
        ranked = values.sort(descending=True).values
        floor = float(ranked[min(k, columns) - 1]) - 2 * tolerance
        assert chosen[(values >= floor) & (values > -torch.inf)].all()
        assert not chosen[values == -torch.inf].any()


@pytest.mark.parametrize("columns", [64, 5000])
def test_finds_few_beyond_those(columns: int) -> None:
    product = torch.randn(20, columns, generator=torch.Generator().manual_seed(0))
    row, _ = find_greatest(product, torch.full((20,), 1e-4, dtype=torch.float64), 5)
    assert 100 <= len(row) <= 120
