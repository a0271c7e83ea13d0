"""Impostors against sorting, bin by bin and pair by pair."""

from dataclasses import replace
from typing import Any, NamedTuple

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from src.exact_retrieval.search import products
from src.exact_retrieval.search.approximation import Approximation, multiply_rows
from src.exact_retrieval.search.impostors import FINE, Impostors, compare_impostors
from src.exact_retrieval.search.inputs import row_norms
from src.exact_retrieval.search.neighbors import Neighbors, merge_neighbors
from src.exact_retrieval.search.placing import Matches
from src.exact_retrieval.search.products import Sides, Sizes
from src.exact_retrieval.search.scoring import pair_similarity

DISTANCES = ["cosine", "euclidean", "inner_product"]
SMALL = [
    Sizes(multiplied=640, looked_at=240, fewest=1),
    Sizes(many=0, multiplied=400, looked_at=240, fewest=1),
    Sizes(),
]
KINDS = [
    "random",
    "coarse",
    "all equal",
    "one ulp apart",
    "sparse",
    "tiny",
    "huge double",
    "half",
    "many copies",
    "outlier",
]


class Problem(NamedTuple):
    query: Tensor
    query_label: Tensor
    reference: Tensor
    reference_label: Tensor
    index: Tensor

    @property
    def sides(self) -> Sides:
        return Sides(*self[:4])


def draw(kind: str, seed: int, queries: int = 9, references: int = 40, people: int = 4) -> Problem:
    generator = torch.Generator().manual_seed(seed)
    query = torch.randn(queries, 6, generator=generator)
    reference = torch.randn(references, 6, generator=generator)
    if kind == "coarse":
        query, reference = query.round() + 0.5, reference.round() + 0.5
    elif kind == "all equal":
        reference[:] = reference[0].clone()
    elif kind == "one ulp apart":
        reference[:] = reference[0].clone()
        reference[::2, 0] = reference[0, 0].nextafter(torch.tensor(9.0))
    elif kind == "sparse":
        query, reference = query.relu(), reference.relu()
        query[:, 0] += 1
        reference[:, 1] += 1
    elif kind == "tiny":
        query, reference = query * 1e-18, reference * 1e-18
    elif kind == "huge double":
        query, reference = query.double() * 1e120, reference.double() * 1e120
    elif kind == "half":
        query, reference = query.half(), reference.half()
    elif kind == "many copies":
        query[:] = reference[0]
        reference[::3] = reference[0].clone()
    elif kind == "outlier":
        reference[-1] *= 1e22
    labels = [torch.randint(people, (n,), generator=generator) for n in (queries, references)]
    index = torch.randperm(references, generator=generator) * 3
    return Problem(query, labels[0], reference, labels[1], index)


def all_similarities(query: Tensor, reference: Tensor, distance: str) -> Tensor:
    rows, columns = torch.cartesian_prod(
        torch.arange(len(query)), torch.arange(len(reference))
    ).unbind(1)
    return pair_similarity(query, reference, rows, columns, distance=distance).view(len(query), -1)


K = 3


class Expected(NamedTuple):
    before: Tensor
    histogram: Tensor
    nearest: Neighbors
    impostors: Tensor  # their similarities


def expected(problem: Problem, similarity: Tensor, edges: Tensor) -> tuple[Matches, Expected]:
    """Sort every query's references by similarity and then by index, and count."""
    matches, before, counted = [], [], []
    nearest = Neighbors.nothing(len(similarity), K, similarity.device)
    for row, values in enumerate(similarity.tolist()):
        found = 0
        for j in sorted(range(len(values)), key=lambda j: (-values[j], int(problem.index[j]))):
            if problem.reference_label[j] == problem.query_label[row]:
                matches.append((row, values[j], int(problem.index[j])))
                before.append(found)
            else:
                if found < K:
                    nearest.similarity[row, found], nearest.index[row, found] = values[j], j
                found += 1
                counted.append(values[j])
    query, value, index = zip(*matches, strict=True)
    inside = np.clip(counted, float(edges[0]), float(edges[-1]))
    return (
        Matches(torch.tensor(query), torch.tensor(value, dtype=torch.float64), torch.tensor(index)),
        Expected(
            torch.tensor(before),
            torch.from_numpy(np.histogram(inside, edges.numpy())[0]),
            nearest,
            torch.tensor(counted, dtype=torch.float64),
        ),
    )


def by_index(found: Neighbors, index: Tensor) -> Neighbors:
    """Number neighbours that are known by their rows."""
    return found._replace(index=index[found.index].where(found.index >= 0, -1))


def check(found: Impostors, wanted: Expected, edges: Tensor) -> None:
    """Compare exact counts exactly, and the others as far as their tolerance goes."""
    counts, nearest = found
    for ours, theirs in zip((*counts[:2], *nearest), (*wanted[:2], *wanted.nearest), strict=True):
        assert torch.equal(ours, theirs)
    fine = torch.linspace(*edges[[0, -1]].tolist(), len(counts.fine) + 1, dtype=torch.float64)
    assert len(counts.fine) == FINE * (len(edges) - 1)
    reaching = counts.fine.flip(0).cumsum(0).flip(0)
    for edge, count in zip(fine[:-1:37], reaching[::37], strict=True):
        assert (wanted.impostors > edge + counts.tolerance).sum() <= count
        assert (wanted.impostors >= edge - counts.tolerance).sum() >= count


def bins(problem: Problem, distance: str, count: int) -> Tensor:
    """Edges that span the similarities which the norms allow."""
    query, reference = (
        float(torch.linalg.vector_norm(rows.double(), dim=1).max())
        for rows in (problem.query, problem.reference)
    )
    low, high = {
        "cosine": (-1.0, 1.0),
        "inner_product": (-query * reference, query * reference),
        "euclidean": (-((query + reference) ** 2), 0.0),
    }[distance]
    return torch.linspace(low, high, count + 1, dtype=torch.float64)


@pytest.mark.parametrize("sizes", SMALL)
@pytest.mark.parametrize("distance", DISTANCES)
@pytest.mark.parametrize("kind", KINDS)
def test_equals_sorting(kind: str, distance: str, sizes: Sizes) -> None:
    problem = draw(kind, seed=1)
    similarity = all_similarities(problem.query, problem.reference, distance)
    edges = bins(problem, distance, 7)
    matches, wanted = expected(problem, similarity, edges)
    found = compare_impostors(
        problem.sides, problem.index, matches, edges, k=K, distance=distance, sizes=sizes
    )
    check(found, wanted, edges)


@settings(max_examples=60, deadline=None)
@given(
    st.sampled_from(KINDS),
    st.sampled_from(DISTANCES),
    st.integers(0, 2**31),
    st.integers(1, 12),
    st.integers(1, 60),
    st.integers(1, 6),
)
def test_equals_sorting_whatever_is_drawn(
    kind: str, distance: str, seed: int, queries: int, references: int, people: int
) -> None:
    problem = draw(kind, seed, queries, references, people)
    problem.reference_label[0] = problem.query_label[0]
    similarity = all_similarities(problem.query, problem.reference, distance)
    edges = bins(problem, distance, 2 + seed % 40)
    matches, wanted = expected(problem, similarity, edges)
    for sizes in SMALL:
        found = compare_impostors(
            problem.sides, problem.index, matches, edges, k=K, distance=distance, sizes=sizes
        )
        check(found, wanted, edges)


@pytest.mark.parametrize("people", [1, 2, 30])
@pytest.mark.parametrize("distance", DISTANCES)
@pytest.mark.parametrize("kind", ["random", "one ulp apart", "many copies", "huge double"])
def test_many_references(kind: str, distance: str, people: int) -> None:
    """Buckets hold many impostors; of two people, a query has so many matches that float64 pays."""
    problem = draw(kind, seed=4, queries=5, references=2000, people=people)
    problem.query_label[0] = 0
    problem.query_label[1] = people  # who has no match
    similarity = all_similarities(problem.query, problem.reference, distance)
    edges = bins(problem, distance, 31)
    matches, wanted = expected(problem, similarity, edges)
    for sizes in (Sizes(), Sizes(multiplied=20000, looked_at=10000)):
        found = compare_impostors(
            problem.sides, problem.index, matches, edges, k=K, distance=distance, sizes=sizes
        )
        check(found, wanted, edges)


@pytest.mark.parametrize("people", [2, 30])
def test_few_pairs_are_scored(people: int, monkeypatch: pytest.MonkeyPatch) -> None:
    problem = draw("random", seed=6, queries=20, references=2000, people=people)
    edges = bins(problem, "cosine", 8)
    similarity = all_similarities(problem.query, problem.reference, "cosine")
    matches, wanted = expected(problem, similarity, edges)
    scored = []

    def score(*args: Tensor, **options: Any) -> Tensor:
        scored.append(len(args[2]))
        return pair_similarity(*args, **options)

    monkeypatch.setattr(products, "pair_similarity", score)
    check(compare_impostors(problem.sides, problem.index, matches, edges, k=K), wanted, edges)
    assert len(problem.query) <= sum(scored) < 40_000 / 200


@pytest.mark.parametrize("kind", ["coarse", "outlier"])
def test_parts_add_up(kind: str) -> None:
    problem = draw(kind, seed=2)
    similarity = all_similarities(problem.query, problem.reference, "euclidean")
    edges = bins(problem, "euclidean", 5)
    matches, whole = expected(problem, similarity, edges)
    parts = slice(0, 13), slice(13, 40)
    first, second = (
        compare_impostors(
            Sides(
                problem.query,
                problem.query_label,
                problem.reference[part],
                problem.reference_label[part],
            ),
            problem.index[part],
            matches,
            edges,
            k=K,
            distance="euclidean",
        )
        for part in parts
    )
    nearest, _ = merge_neighbors(
        *(
            by_index(found.nearest, problem.index[part])
            for found, part in zip((first, second), parts, strict=True)
        )
    )
    whole = whole._replace(nearest=by_index(whole.nearest, problem.index))
    check(Impostors(first.counts.plus(second.counts), nearest), whole, edges)


def test_without_any_impostor_or_match() -> None:
    problem = draw("random", seed=3)
    edges = torch.linspace(-1, 1, 4, dtype=torch.float64)
    none = torch.empty(0, dtype=torch.int64)
    matches = Matches(none, none.double(), none)
    same = problem._replace(query_label=none.new_zeros(9), reference_label=none.new_zeros(40))
    found = compare_impostors(same.sides, same.index, matches, edges)
    assert found.nearest.similarity.tolist() == [[-torch.inf]] * 9
    assert found.nearest.index.tolist() == [[-1]] * 9
    assert found.counts.histogram.tolist() == [0, 0, 0]
    strangers = same._replace(query_label=same.query_label + 1)
    found = compare_impostors(strangers.sides, strangers.index, matches, edges)
    similarity = all_similarities(problem.query, problem.reference, "cosine")
    assert torch.equal(found.nearest.similarity[:, 0], similarity.amax(dim=1))
    assert found.counts.histogram.sum() == 9 * 40


@pytest.mark.parametrize("sharp", [False, True])
@pytest.mark.parametrize("distance", DISTANCES)
@pytest.mark.parametrize("columns", [1, 3, 256, 1000])
def test_products_are_within_the_tolerance(columns: int, distance: str, sharp: bool) -> None:
    generator = torch.Generator().manual_seed(columns)
    query = 10 ** torch.randn(30, 1, generator=generator) * torch.randn(
        30, columns, generator=generator
    )
    reference = query[:20] + 1e-7 * torch.randn(20, columns, generator=generator)
    norms = row_norms(query), row_norms(reference)
    fitted = Approximation.fit(*norms, width=columns, distance=distance, sharp=sharp)
    product = multiply_rows(
        fitted.coordinates(query, is_query=True), fitted.coordinates(reference, is_query=False)
    )
    assert product.dtype == (torch.float64 if sharp else torch.float32)
    similarity = all_similarities(query, reference, distance)
    error = (product.double() - similarity / fitted.unit).abs()
    assert (error <= fitted.tolerance[:, None] / 2).all()


def test_the_tolerance_is_needed(monkeypatch: pytest.MonkeyPatch) -> None:
    problem = draw("one ulp apart", seed=5, queries=40, references=400)
    similarity = all_similarities(problem.query, problem.reference, "cosine")
    edges = bins(problem, "cosine", 5)
    matches, impostors = expected(problem, similarity, edges)
    assert torch.equal(
        compare_impostors(problem.sides, problem.index, matches, edges).counts.before,
        impostors.before,
    )
    fit = Approximation.fit.__func__  # type: ignore[attr-defined]

    def without(cls: type[Approximation], *norms: Tensor, **options: object) -> Approximation:
        fitted: Approximation = fit(cls, *norms, **options)
        return replace(fitted, tolerance=torch.zeros_like(fitted.tolerance))

    monkeypatch.setattr(Approximation, "fit", classmethod(without))
    assert not torch.equal(
        compare_impostors(problem.sides, problem.index, matches, edges).counts.before,
        impostors.before,
    )


def test_refuses_a_zero_vector() -> None:
    zero, one, label = torch.zeros(1, 2), torch.ones(1, 2), torch.zeros(1).long()
    matches = Matches(label, torch.ones(1).double(), label)
    edges = torch.linspace(-1, 1, 3, dtype=torch.float64)
    with pytest.raises(ValueError, match=r"`reference` should have no zero vector under cosine"):
        compare_impostors(Sides(one, label, zero, label), label, matches, edges)
