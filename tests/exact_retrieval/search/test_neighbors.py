"""The union of nearest references against sorting tuples."""

import math

import pytest
import torch

from src.exact_retrieval.search.neighbors import Neighbors, merge_neighbors, select_nearest


@pytest.mark.parametrize("levels", [2, 1000])
@pytest.mark.parametrize("widths", [(4,), (3, 5), (2, 0, 6), (200, 300)])
@pytest.mark.parametrize("k", [1, 3, 4])
def test_equals_sorting(k: int, widths: tuple[int, ...], levels: int) -> None:
    generator = torch.Generator().manual_seed(0)
    shape = 20, sum(widths)
    similarity = torch.randint(-levels, levels, shape, generator=generator).double() / 7
    similarity[similarity == similarity.min()] = -math.inf
    index = torch.rand(shape, generator=generator).argsort(dim=1)
    index[similarity == -math.inf] = -1
    parts = zip(similarity.split(widths, dim=1), index.split(widths, dim=1), strict=True)
    found, place = select_nearest([Neighbors(*part) for part in parts], k)
    for row in range(len(similarity)):
        pairs = zip((-similarity[row]).tolist(), index[row].tolist(), strict=True)
        wanted = sorted(pairs)[:k]
        got = zip((-found.similarity[row]).tolist(), found.index[row].tolist(), strict=True)
        assert list(got) == wanted
    assert torch.equal(similarity.gather(1, place), found.similarity)
    assert torch.equal(index.gather(1, place), found.index)


def test_as_many_are_kept_as_the_first_has() -> None:
    first = Neighbors(torch.tensor([[0.5, 0.1]]).double(), torch.tensor([[7, 2]]))
    second = Neighbors(torch.tensor([[0.7, 0.5, 0.2]]).double(), torch.tensor([[9, 3, 1]]))
    found, place = merge_neighbors(first, second)
    assert found.index.tolist() == [[9, 3]]
    assert place.tolist() == [[2, 3]]
