"""Re-ranking against dense matrices."""

from typing import Any, NamedTuple

import numpy as np
import pytest
import torch
from torch import Tensor

from src.exact_retrieval import EmbeddingRetrieval, KReciprocal, Retrieval

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


def retrieval_of(people: People, options: KReciprocal, **kwargs: Any) -> Retrieval:
    metric = EmbeddingRetrieval(reranking=options, **kwargs)
    metric.update(*people[:2], is_query=True, cameras=people.query_cameras)
    metric.update(*people[3:5], cameras=people.reference_cameras)
    metric.compute()
    assert metric.retrieval is not None
    return metric.retrieval


@pytest.mark.parametrize("seed", range(6))
@pytest.mark.parametrize(
    "options",
    [KReciprocal(), KReciprocal(5, 3, 0.1), KReciprocal(7, 1, 0.8), KReciprocal(2, 9, 0.05)],
)
def test_equals_dense_matrices(seed: int, options: KReciprocal) -> None:
    people = draw_people(seed, copies=seed * 3)
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
