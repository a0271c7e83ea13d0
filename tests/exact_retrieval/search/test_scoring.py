"""Scores of all pairs at once against scores pair by pair."""

import pytest
import torch

from src.exact_retrieval.search.scoring import Distance, cross_similarities, pair_similarity

DTYPES = [torch.float16, torch.bfloat16, torch.float32, torch.float64]


@pytest.mark.parametrize("distance", ["cosine", "euclidean", "inner_product"])
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("width", [1, 3, 128, 1000])
def test_all_pairs_equal_single_pairs(dtype: torch.dtype, distance: Distance, width: int) -> None:
    generator = torch.Generator().manual_seed(width)
    query = torch.randn(19, width, generator=generator).to(dtype)
    reference = torch.randn(600, width, generator=generator).to(dtype)
    reference[5] = query[3]
    if dtype == torch.float64:
        query[0] *= 1e170
    i, j = torch.cartesian_prod(torch.arange(19), torch.arange(600)).unbind(1)
    expected = pair_similarity(query, reference, i, j, distance=distance).view(19, 600)
    queries, references = torch.arange(19), torch.arange(600)
    groups = (queries, references), (queries, references[:0]), (queries[:3], references[4:9])
    whole, nothing, part = cross_similarities(query, reference, groups, distance=distance)
    assert torch.equal(whole, expected)
    assert nothing.shape == (19, 0)
    assert torch.equal(part, expected[:3, 4:9])
