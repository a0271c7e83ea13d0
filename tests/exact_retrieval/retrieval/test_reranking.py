"""Re-ranking against dense matrices."""

from typing import Any, NamedTuple

import numpy as np
import pytest
import torch
from torch import Tensor

from src.exact_retrieval import EmbeddingRetrieval, KReciprocal, Retrieval, evaluate_embeddings
from src.exact_retrieval.retrieval import reranking

pytestmark = pytest.mark.filterwarnings("ignore:.* queries have an identity that no")


class People(NamedTuple):
    query: Tensor
    query_labels: Tensor
    query_cameras: Tensor
    reference: Tensor
    reference_labels: Tensor
    reference_cameras: Tensor


def draw_people(seed: int, *, queries: int = 21, references: int = 50, copies: int = 0) -> People:
    """People who are hard to tell apart, one of them unknown; some images are copies of others."""
    generator = torch.Generator().manual_seed(seed)
    centres = torch.randn(9, 6, generator=generator)

    def draw(count: int, people: int) -> tuple[Tensor, Tensor, Tensor]:
        labels = torch.randint(people, (count,), generator=generator)
        noise = torch.randn(count, 6, generator=generator)
        return centres[labels] + noise, labels, torch.randint(1, 4, (count,), generator=generator)

    people = People(*draw(queries, 9), *draw(references, 8))
    for _ in range(copies):
        i, j = (int(torch.randint(n, (), generator=generator)) for n in (queries, references))
        k = int(torch.randint(references, (), generator=generator))
        people.reference[k] = people.reference[j]
        people.reference[j] = people.query[i]
    return people


def dense_distance(people: People, k1: int, k2: int, weight: float) -> np.ndarray:
    """Distances [Q, R] after re-ranking, by the steps of the paper on dense matrices."""
    x = torch.cat([people.query, people.reference]).double().numpy()
    cosine = np.array([[sum(a * b) / np.sqrt(sum(a * a) * sum(b * b)) for b in x] for a in x])
    original = 2 - 2 * cosine
    original = np.transpose(original / original.max(axis=0))
    ranking = np.argsort(original, axis=1, kind="stable")

    def reciprocal(i: int, k: int) -> set[int]:
        return {int(j) for j in ranking[i, : k + 1] if i in ranking[j, : k + 1]}

    encoding = np.zeros_like(original)
    for i in range(len(x)):
        neighbors = reciprocal(i, k1)
        expanded = set(neighbors)
        for candidate in neighbors:
            others = reciprocal(candidate, round(k1 / 2))
            if len(others & neighbors) > 2 / 3 * len(others):
                expanded |= others
        for j in expanded:
            encoding[i, j] = np.exp(-original[i, j])
        encoding[i] /= max(encoding[i].sum(), 1e-300)
    if k2 > 1:
        encoding = np.array([encoding[ranking[i, :k2]].mean(axis=0) for i in range(len(x))])
    queries = len(people.query)
    distance = np.empty((queries, len(people.reference)))
    for i in range(queries):
        for j in range(queries, len(x)):
            shared = np.minimum(encoding[i], encoding[j]).sum()
            jaccard = 1 - shared / (2 - shared)
            distance[i, j - queries] = weight * original[i, j] + (1 - weight) * jaccard
    return distance


def dense_ranks(distance: np.ndarray, people: People) -> list[list[int]]:
    """The ranks, from 1, of each query's matches."""
    rankings = [sorted(range(len(row)), key=lambda j: (row[j], j)) for row in distance]
    return [
        [rank for rank, j in enumerate(row, 1) if people.reference_labels[j] == label]
        for row, label in zip(rankings, people.query_labels, strict=True)
    ]


def dense_measures(people: People, options: KReciprocal) -> dict[str, float]:
    """The measures after re-ranking, one query and one reference at a time."""
    distance = dense_distance(people, options.k1, options.k2, options.lambda_value).round(12)
    right, first, precision = [], [], []
    for i, row in enumerate(distance):
        ranking = sorted(range(len(row)), key=lambda j, row=row: (row[j], j))  # type: ignore[misc]
        same = [bool(people.reference_labels[j] == people.query_labels[i]) for j in ranking]
        own = [bool(people.reference_cameras[j] == people.query_cameras[i]) for j in ranking]
        right.append(same[0])
        hits = [hit for hit, is_own in zip(same, own, strict=True) if not (hit and is_own)]
        if any(hits):
            first.append(hits[0])
            precisions = [sum(hits[: n + 1]) / (n + 1) for n, hit in enumerate(hits) if hit]
            precision.append(np.mean(precisions))
    return {
        "reranked_acc": float(np.mean(right)),
        "reranked_rank1": float(np.mean(first)),
        "reranked_mAP": float(np.mean(precision)),
    }


def retrieval_of(people: People, options: KReciprocal, **kwargs: Any) -> Retrieval:
    metric = EmbeddingRetrieval(reranking=options, **kwargs)
    metric.update(*people[:2], is_query=True, cameras=people.query_cameras)
    metric.update(*people[3:5], cameras=people.reference_cameras)
    metric.compute()
    assert metric.retrieval is not None
    return metric.retrieval


def assert_equals_dense_matrices(people: People, options: KReciprocal) -> None:
    reranked = retrieval_of(people, options).reranked
    assert reranked is not None
    expected = dense_distance(people, options.k1, options.k2, options.lambda_value)
    matching = people.query_labels[:, None] == people.reference_labels
    of_queries = reranked.similarity.split(reranked.count.tolist())
    for similarity, row, mask in zip(of_queries, expected, matching, strict=True):
        assert -similarity.numpy() == pytest.approx(np.sort(row[mask]), abs=1e-9)
    # Ranks by the same distances to 1e-12: where rounding decides, the oracle may differ.
    ranks = reranked.rank.split(reranked.count.tolist())
    rounded = dense_ranks(expected.round(12), people)
    assert [row.tolist() for row in ranks] == rounded


@pytest.mark.parametrize("seed", range(6))
@pytest.mark.parametrize(
    "options",
    [KReciprocal(), KReciprocal(5, 3, 0.1), KReciprocal(7, 1, 0.8), KReciprocal(2, 9, 0.05)],
)
def test_equals_dense_matrices(seed: int, options: KReciprocal) -> None:
    assert_equals_dense_matrices(draw_people(seed, copies=seed * 3), options)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_any_dtype_and_length(dtype: torch.dtype) -> None:
    people = draw_people(4, copies=6)
    length = torch.logspace(-2, 2, 50)[:, None]
    people = people._replace(
        query=(people.query * 100).to(dtype), reference=(people.reference * length).to(dtype)
    )
    assert_equals_dense_matrices(people, KReciprocal(8, 4, 0.5))


@pytest.mark.parametrize("distance", ["cosine", "euclidean"])
def test_measures_stand_beside_the_plain_ones(distance: str) -> None:
    people, options = draw_people(3, copies=5), KReciprocal(6, 3)
    given: dict[str, Any] = {
        "query_cameras": people.query_cameras,
        "reference_cameras": people.reference_cameras,
        "distance": distance,
    }
    sets = *people[:2], *people[3:5]
    plain = evaluate_embeddings(*sets, **given).measures
    measures = evaluate_embeddings(*sets, **given, reranking=options).measures
    values = {name: each.mean.item() for name, each in measures.items() if name not in plain}
    assert values == pytest.approx(dense_measures(people, options))
    assert values["reranked_mAP"] != pytest.approx(plain["mAP"].mean.item())
    assert len(plain) == len(measures) - 3
    for name, each in plain.items():
        assert measures[name].values.tolist() == pytest.approx(each.values.tolist(), nan_ok=True)
    without_cameras = evaluate_embeddings(*sets, distance=distance, reranking=options).measures
    assert "reranked_acc" in without_cameras
    assert "reranked_rank1" not in without_cameras


def test_blocks_and_order_do_not_matter(monkeypatch: pytest.MonkeyPatch) -> None:
    people = draw_people(2, copies=4)
    whole = retrieval_of(people, KReciprocal()).reranked
    monkeypatch.setattr(reranking, "_BLOCK", 1)
    one_by_one = retrieval_of(people, KReciprocal()).reranked
    assert whole is not None
    assert one_by_one is not None
    assert torch.equal(one_by_one.rank, whole.rank)
    assert torch.equal(one_by_one.similarity, whole.similarity)


def test_directions_that_a_product_cannot_tell_apart(monkeypatch: pytest.MonkeyPatch) -> None:
    """Compare with the definition: under a great tolerance, it scores all pairs."""
    people = draw_people(5)
    people = people._replace(
        query=1 + 1e-7 * people.query.double(), reference=1 + 1e-7 * people.reference.double()
    )
    found = retrieval_of(people, KReciprocal()).reranked
    monkeypatch.setattr(reranking, "_tolerance", lambda _, greatest, __: greatest + 9)
    exact = retrieval_of(people, KReciprocal()).reranked
    assert found is not None
    assert exact is not None
    assert torch.equal(found.rank, exact.rank)


def test_images_of_one_direction_rank_by_index() -> None:
    """All distances are 0, and the images after the first 21 are not their own neighbours."""
    rows = torch.tensor([[0.3, 0.7]]).repeat(30, 1)
    metric = EmbeddingRetrieval(reranking=KReciprocal())
    metric.update(rows, torch.arange(30) // 10)
    metric.update(rows[:2], torch.tensor([0, 2]), is_query=True)
    metric.compute()
    assert metric.retrieval is not None
    assert metric.retrieval.reranked is not None
    assert metric.retrieval.reranked.rank.tolist() == [*range(1, 11), *range(21, 31)]


def test_a_zero_vector_has_no_direction() -> None:
    people = draw_people(0)
    people.reference[7] = 0
    with pytest.raises(ValueError, match=r"`reference` should have no zero vector .* in row 7"):
        retrieval_of(people, KReciprocal(), distance="euclidean")


def test_one_set_is_not_re_ranked() -> None:
    people = draw_people(0)
    with pytest.raises(ValueError, match=r"with all others: it needs queries and references$"):
        evaluate_embeddings(*people[:2], reranking=KReciprocal())


@pytest.mark.usefixtures("unchecked")
@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"k1": 0}, "`k1` should be a positive integer, got 0"),
        ({"k2": 2.0}, "`k2` should be a positive integer, got 2.0"),
        ({"lambda_value": 1.5}, "`lambda_value` should be a number from 0 to 1, got 1.5"),
    ],
)
def test_refuses_options(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        KReciprocal(**options)
