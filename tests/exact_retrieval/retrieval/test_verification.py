"""Thresholds of verification and of the open set, against trying every similarity."""

from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import roc_curve
from torch import Tensor

from src.exact_retrieval import EmbeddingRetrieval, Retrieval
from src.exact_retrieval.retrieval import verification
from src.exact_retrieval.retrieval.working_points import WorkingPoint
from tests.exact_retrieval import oracle
from tests.exact_retrieval.search.test_impostors import DISTANCES, KINDS, all_similarities, draw

# Some people in the data have no reference.
pytestmark = pytest.mark.filterwarnings("ignore:.* queries have an identity that no")


def retrieve(sides: tuple[Tensor, ...], distance: str, **options: Any) -> Retrieval:
    """Evaluate (query, query labels, reference, reference labels)."""
    metric = EmbeddingRetrieval(distance=distance, **options)
    if not metric.leave_one_out:
        metric.update(sides[0], sides[1], is_query=True)
    metric.update(sides[2], sides[3])
    metric.compute()
    assert metric.retrieval is not None
    return metric.retrieval


def split_pairs(sides: tuple[Tensor, ...], distance: str) -> tuple[list[float], list[float]]:
    """The similarities of pairs of one identity and of pairs of two."""
    similarity = all_similarities(sides[0], sides[2], distance)
    is_same = sides[1][:, None] == sides[3]
    return similarity[is_same].tolist(), similarity[~is_same].tolist()


def check(retrieval: Retrieval, genuine: list[float], impostors: list[float]) -> None:
    found = retrieval.verification
    if not genuine or not impostors:
        assert found == ((), None)
        return
    assert found.equal_error == oracle.equal_error(genuine, impostors)
    targets = [one_in for one_in in (100, 1000, 10000) if one_in <= len(impostors)]
    assert [point.one_in for point in found.points] == targets
    for point in found.points:
        wanted = oracle.working_point(genuine, impostors, point.one_in)
        assert (point.threshold, point.accepted, point.false_accepts) == wanted
        assert (point.genuine, point.impostors) == (len(genuine), len(impostors))
        assert point.false_rate <= 1 / point.one_in


@pytest.mark.parametrize("distance", DISTANCES)
@pytest.mark.parametrize("kind", KINDS)
def test_equals_the_oracle(kind: str, distance: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(EmbeddingRetrieval, "block_bytes", 480)  # 20 of 60 references
    problem = draw(kind, 11, queries=50, references=60)
    sides = problem[:4]
    check(retrieve(sides, distance), *split_pairs(sides, distance))


@settings(max_examples=40, deadline=None)
@given(
    st.sampled_from(KINDS),
    st.sampled_from(DISTANCES),
    st.integers(0, 2**31),
    st.integers(1, 20),
    st.integers(1, 60),
    st.integers(1, 6),
)
def test_equals_the_oracle_whatever_is_drawn(
    kind: str, distance: str, seed: int, queries: int, references: int, people: int
) -> None:
    sides = draw(kind, seed, queries, references, people)[:4]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(verification, "_HELD", seed % 100)
        patch.setattr(verification, "_BINS", 2 + seed % 7)
        check(retrieve(sides, distance), *split_pairs(sides, distance))


@pytest.mark.parametrize("kind", KINDS)
def test_windows_are_surveyed_until_they_hold_few(
    kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    sides = draw(kind, 12, queries=50, references=60)[:4]
    surveyed, collected = [], []
    survey, collect = verification._survey, verification._collect
    monkeypatch.setattr(verification, "_HELD", 0)
    monkeypatch.setattr(
        verification, "_survey", lambda *given: surveyed.append(0) or survey(*given)
    )
    monkeypatch.setattr(
        verification, "_collect", lambda *given: collected.extend(r := collect(*given)) or r
    )
    check(retrieve(sides, "cosine"), *split_pairs(sides, "cosine"))
    assert len(surveyed) == 2
    assert max(len(inside.similarity) for inside in collected) <= 3


def test_surveys_of_blocks_add_up(monkeypatch: pytest.MonkeyPatch) -> None:
    sides = draw("random", 12, queries=50, references=60)[:4]
    monkeypatch.setattr(verification, "_HELD", 0)
    monkeypatch.setattr(verification, "_BINS", 5)
    monkeypatch.setattr(EmbeddingRetrieval, "block_bytes", 7 * sides[0][0].nbytes)
    check(retrieve(sides, "cosine"), *split_pairs(sides, "cosine"))


def test_a_collapsed_network() -> None:
    """All similarities lie nearer to 1 than float32 can tell apart."""
    sides = list(draw("random", 13, queries=50, references=60)[:4])
    for side in (0, 2):
        sides[side] = torch.ones(6, dtype=torch.float64) + 1e-6 * sides[side].double()
    check(retrieve(tuple(sides), "cosine"), *split_pairs(tuple(sides), "cosine"))


def test_an_outlier() -> None:
    """One norm is so great that all other similarities fall into one bin."""
    problem = draw("random", 14, queries=50, references=60)
    problem.reference[0] *= 1e8
    problem.query[0] *= 1e8
    for distance in ("euclidean", "inner_product"):
        check(retrieve(problem[:4], distance), *split_pairs(problem[:4], distance))


@pytest.mark.parametrize("distance", DISTANCES)
def test_leave_one_out(distance: str) -> None:
    _, _, rows, labels, _ = draw("coarse", 15, references=60)
    similarity = all_similarities(rows, rows, distance)
    is_same, is_other = labels[:, None] == labels, ~torch.eye(60, dtype=torch.bool)
    genuine = similarity[is_same & is_other].tolist()
    retrieval = retrieve((rows, labels, rows, labels), distance, leave_one_out=True)
    check(retrieval, genuine, similarity[~is_same].tolist())


@pytest.mark.parametrize("seed", range(3))
def test_equals_scikit_learn(seed: int) -> None:
    """Without ties its thresholds are the least similarity accepted, not the greatest rejected."""
    sides = draw("random", seed, queries=120, references=120)[:4]
    genuine, impostors = split_pairs(sides, "cosine")
    truth = np.repeat([1, 0], [len(genuine), len(impostors)])
    scores = np.array(genuine + impostors)
    false_rate, rate, thresholds = roc_curve(truth, scores, drop_intermediate=False)
    found = retrieve(sides, "cosine").verification
    assert len(found.points) == 3
    for point in found.points:
        last = np.flatnonzero(false_rate <= 1 / point.one_in)[-1]
        assert point.rate == rate[last]
        assert point.false_rate == false_rate[last]
        assert point.threshold == scores[scores < thresholds[last]].max()
    assert found.equal_error is not None
    nearest = np.abs(1 - rate - false_rate).argmin()
    assert found.equal_error.rate == pytest.approx(
        (1 - rate[nearest] + false_rate[nearest]) / 2, abs=2 / len(genuine)
    )


def test_small_sets() -> None:
    """By hand: similarities 4, 3, 2 of one identity; 3, 1, 0 of two."""
    query, label = torch.tensor([[1.0]]), torch.tensor([1])
    reference = torch.tensor([[4.0], [3.0], [2.0], [3.0], [1.0], [0.0]])
    labels = torch.tensor([1, 1, 1, 2, 2, 2])
    found = retrieve((query, label, reference, labels), "inner_product").verification
    # Above 2, one of three is rejected and one of three accepted.
    assert found == ((), (2.0, pytest.approx(1 / 3)))
    labels = torch.tensor([1, 1, 2, 1, 2, 2])
    found = retrieve((query, label, reference, labels), "inner_product").verification
    assert found.equal_error == (2.0, 0.0)


def test_a_target_of_exactly_one_pair() -> None:
    """Of 100 impostors one may be above the threshold; of 99 none, so there is no such point."""
    query, label = torch.tensor([[1.0]]), torch.tensor([1])
    for impostors, points in ((100, [(98.0, 2, 1)]), (99, [])):
        values = torch.tensor([*range(impostors), 98.5, 98.0, 200.0])[:, None]
        labels = torch.tensor([2] * impostors + [1] * 3)
        found = retrieve((query, label, values, labels), "inner_product").verification.points
        assert [(p.threshold, p.accepted, p.false_accepts) for p in found] == points
    for unknown, points in ((10, [(8.0, 1, 1)]), (9, [])):
        rows = torch.arange(unknown + 2.0)[:, None]
        labels = torch.tensor([2] * unknown + [1] * 2)
        sides = (rows, labels, torch.ones(1, 1), torch.tensor([1]))
        found = retrieve(sides, "inner_product").open_set
        assert [(p.threshold, p.accepted - 1, p.false_accepts) for p in found] == points


def test_pairs_of_one_kind_have_no_threshold() -> None:
    rows, ones = torch.randn(20, 3), torch.ones(20, dtype=torch.int64)
    for other in (1, 2):
        retrieval = retrieve((rows, ones, rows, ones * other), "cosine")
        assert retrieval.verification == ((), None)
        assert retrieval.open_set == ()


def open_set(
    sides: tuple[Tensor, ...], distance: str, *, leave_one_out: bool = False
) -> tuple[WorkingPoint, ...]:
    """Query by query, from the definition."""
    similarity = all_similarities(sides[0], sides[2], distance)
    if leave_one_out:
        similarity.fill_diagonal_(-torch.inf)
    unknown, right, known = [], [], 0
    for row, label in zip(similarity, sides[1], strict=True):
        is_same = (sides[3] == label) & (row > -torch.inf)
        nearest = int(row.argmax())
        if not is_same.any():
            unknown.append(float(row[nearest]))
            continue
        known += 1
        if sides[3][nearest] == label:
            right.append(float(row[nearest]))
    points = []
    for one_in in (10, 100):
        if known and len(unknown) >= one_in:
            threshold, accepted, false_accepts = oracle.working_point(right, unknown, one_in)
            points.append(
                WorkingPoint(one_in, threshold, accepted, known, false_accepts, len(unknown))
            )
    return tuple(points)


@pytest.mark.parametrize("distance", DISTANCES)
@pytest.mark.parametrize("kind", ["random", "coarse", "many copies"])
def test_the_open_set_equals_the_oracle(kind: str, distance: str) -> None:
    for queries, seen, targets in ((60, 3, 1), (400, 4, 2), (20, 6, 0)):
        problem = draw(kind, 16, queries, 60, people=6)
        labels = problem.reference_label % seen
        sides = (problem.query, problem.query_label, problem.reference, labels)
        found = retrieve(sides, distance).open_set
        assert found == open_set(sides, distance)
        assert len(found) == targets


def test_the_open_set_where_one_is_left_out() -> None:
    _, _, rows, _, _ = draw("random", 17, references=60)
    labels = torch.arange(60) // 2
    labels[30:] = torch.arange(100, 130)  # of whom there is one image each
    sides = (rows, labels, rows, labels)
    found = retrieve(sides, "cosine", leave_one_out=True).open_set
    assert found == open_set(sides, "cosine", leave_one_out=True)
    assert len(found) == 1
