"""Pairs and their order, against loops and sorting tuples."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from src.exact_retrieval.search import pairs


@settings(max_examples=50, deadline=None)
@given(st.integers(0, 2**31), st.integers(0, 90), st.integers(1, 12), st.booleans())
def test_equals_sorting(seed: int, size: int, queries: int, ordered: bool) -> None:
    generator = torch.Generator().manual_seed(seed)
    query = torch.randint(queries, (size,), generator=generator)
    reference = torch.randperm(size, generator=generator)
    if ordered:
        query, reference = query.sort().values, reference.sort().values
    similarity = torch.randint(-2, 3, (size,), generator=generator).double() / 7
    wanted = sorted(range(size), key=lambda k: (query[k], -similarity[k], reference[k]))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(pairs, "_CHUNK", 8)
        assert pairs.order_pairs(query, similarity, reference).tolist() == wanted
    assert pairs.order_pairs(query, similarity, reference).tolist() == wanted


@pytest.mark.parametrize(
    ("size", "others", "numbers"), [(5, 300, 3), (40, 50, 60), (0, 7, 2), (7, 0, 2)]
)
def test_all_pairs_of_equals_are_found(size: int, others: int, numbers: int) -> None:
    generator = torch.Generator().manual_seed(0)
    first = torch.randint(numbers, (size,), generator=generator)
    second = torch.randint(numbers, (others,), generator=generator)
    wanted = [[i, j] for i in range(size) for j in range(others) if first[i] == second[j]]
    assert torch.stack(pairs.pairs_of_equals(first, second), dim=1).tolist() == wanted
