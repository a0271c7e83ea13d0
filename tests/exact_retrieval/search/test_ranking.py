import pytest
import torch
from torch import Tensor

from src.exact_retrieval.search import ranking
from src.exact_retrieval.search.neighbors import Neighbors
from src.exact_retrieval.search.ranking import approximate_similarity, count_at_or_before
from src.exact_retrieval.search.scoring import pair_similarity

DISTANCES = ["cosine", "euclidean", "inner_product"]


def all_similarities(query: Tensor, reference: Tensor, distance: str) -> Tensor:
    rows, columns = torch.cartesian_prod(
        torch.arange(len(query)), torch.arange(len(reference))
    ).unbind(1)
    return pair_similarity(query, reference, rows, columns, distance=distance).view(len(query), -1)


def rank_by_sorting(similarity: Tensor, index: Tensor) -> Tensor:
    """The rank of each reference [Q, R] by similarity, then by index."""
    ranks = torch.empty_like(similarity, dtype=torch.int64)
    for row, values in enumerate(similarity.tolist()):
        order = sorted(range(len(values)), key=lambda j: (-values[j], int(index[j])))
        ranks[row, order] = torch.arange(1, len(order) + 1)
    return ranks


def draw(kind: str, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    query = torch.randn(9, 6, generator=generator)
    reference = torch.randn(40, 6, generator=generator)
    if kind == "coarse":
        query, reference = query.round() + 0.5, reference.round() + 0.5
    elif kind == "all equal":
        reference[:] = reference[0]
    elif kind == "one ulp apart":
        reference[:] = reference[0]
        reference[::2, 0] = reference[0, 0].nextafter(torch.tensor(9.0))
    elif kind == "tiny":
        query, reference = query * 1e-18, reference * 1e-18
    elif kind == "huge double":
        query, reference = query.double() * 1e120, reference.double() * 1e120
    elif kind == "half":
        query, reference = query.half(), reference.half()
    return query, reference


@pytest.mark.parametrize("distance", DISTANCES)
@pytest.mark.parametrize(
    "kind", ["random", "coarse", "all equal", "one ulp apart", "tiny", "huge double", "half"]
)
def test_counts_are_the_ranks(kind: str, distance: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ranking, "_QUERIES", 4)
    monkeypatch.setattr(ranking, "_REFERENCES", 7)
    generator = torch.Generator().manual_seed(1)
    query, reference = draw(kind, generator)
    index = torch.randperm(len(reference), generator=generator) * 3
    similarity = all_similarities(query, reference, distance)
    ranks = rank_by_sorting(similarity, index)
    chosen = torch.stack([torch.randperm(40, generator=generator)[:6] for _ in query])
    chosen = chosen.gather(1, ranks.gather(1, chosen).argsort(dim=1))
    target = Neighbors(similarity.gather(1, chosen), index[chosen])
    counts = count_at_or_before(query, reference, index, target, distance=distance)
    assert torch.equal(counts, ranks.gather(1, chosen))
    parts = [
        count_at_or_before(query, reference[part], index[part], target, distance=distance)
        for part in (slice(0, 13), slice(13, 40))
    ]
    assert torch.equal(parts[0] + parts[1], counts)


@pytest.mark.parametrize("distance", DISTANCES)
@pytest.mark.parametrize("columns", [1, 3, 256, 1000])
def test_products_are_within_the_tolerance(columns: int, distance: str) -> None:
    generator = torch.Generator().manual_seed(columns)
    query = 10 ** torch.randn(30, 1, generator=generator) * torch.randn(
        30, columns, generator=generator
    )
    reference = query[:20] + 1e-7 * torch.randn(20, columns, generator=generator)
    norms = (torch.linalg.vector_norm(rows.double(), dim=1) for rows in (query, reference))
    error = approximate_similarity(query, reference, distance=distance)
    error = (error - all_similarities(query, reference, distance)).abs()
    tolerance = ranking._tolerance(*norms, columns, distance)
    assert (error <= tolerance[:, None] / 2).all()


def test_refuses_a_zero_vector() -> None:
    zero, one = torch.zeros(1, 2), torch.ones(1, 2)
    target = Neighbors(torch.ones(1, 1).double(), torch.zeros(1, 1).long())
    with pytest.raises(ValueError, match=r"`reference` should have no zero vector under cosine"):
        count_at_or_before(one, zero, torch.arange(1), target)
