"""Copies that stay against counting the equal rows before each row."""

import pytest
import torch
from torch import Tensor

from src.exact_retrieval.search import copies
from src.exact_retrieval.search.copies import first_copies


def naive(rows: Tensor, groups: Tensor | None, k: int) -> list[int]:
    """Compare the bytes of every row with those of all rows before it."""
    content = [row.numpy().tobytes() for row in rows]
    if groups is None:
        return [i for i in range(len(rows)) if content[:i].count(content[i]) < k]
    keys = list(zip(content, groups.tolist(), strict=True))
    kept = [i for i in range(len(rows)) if keys[:i].count(keys[i]) < k]
    return [i for i in kept if sum(content[j] == content[i] for j in kept if j < i) < 2 * k]


@pytest.mark.parametrize("dtype", [torch.float16, torch.float32, torch.float64])
@pytest.mark.parametrize("chunk", [1, 20, 2**20])
@pytest.mark.parametrize("k", [1, 2, 5])
def test_equals_counting(
    k: int, chunk: int, dtype: torch.dtype, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(copies, "_CHUNK", chunk)
    generator = torch.Generator().manual_seed(0)
    for size, width in ((1, 1), (60, 1), (60, 3), (90, 2)):
        different = torch.randn(6, width, generator=generator)
        different[:2] = 0
        different[1, 0] = -0.0
        rows = different[torch.randint(6, (size,), generator=generator)].to(dtype)
        groups = torch.randint(4, (size,), generator=generator)
        for some in (None, groups):
            assert first_copies(rows, some, k).tolist() == naive(rows, some, k)
            assert first_copies(rows.T.contiguous().T, some, k).tolist() == naive(rows, some, k)


def test_rows_stay_whose_hashes_collide(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch, "randint", lambda *_, **__: torch.zeros(2, dtype=torch.int64))
    rows = torch.tensor([[1.0, 2.0], [2.0, 1.0], [3.0, 4.0], [3.0, 4.0]])
    assert first_copies(rows, None, 1).tolist() == [0, 1, 2]


def test_the_random_state_is_left_alone() -> None:
    before = torch.get_rng_state()
    first_copies(torch.ones(5, 3), None, 1)
    assert torch.equal(torch.get_rng_state(), before)
