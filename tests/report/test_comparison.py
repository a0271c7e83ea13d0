from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from src.exact_retrieval.statistics.paired_difference import PairedDifference
from src.report.comparison import Comparison, compare_runs
from src.report.evaluated_run import EvaluatedRun
from tests.report.evaluations import evaluation_of, make_predictions

BASELINE = [True, True, False, False, True, False, True, True, False]
CANDIDATE = [True, False, True, False, True, True, True, True, True]


def compared(
    baseline: list[bool] = BASELINE, candidate: list[bool] = CANDIDATE, **options: float
) -> Comparison:
    return compare_predictions(make_predictions(baseline), make_predictions(candidate), **options)


def compare_predictions(
    baseline: pd.DataFrame, candidate: pd.DataFrame, **options: float
) -> Comparison:
    runs = (EvaluatedRun("a", evaluation_of(baseline)), EvaluatedRun("b", evaluation_of(candidate)))
    return compare_runs(*runs, **options)  # type: ignore[arg-type]


def test_queries_are_matched_by_path() -> None:
    comparison = compare_predictions(make_predictions(BASELINE), make_predictions(CANDIDATE)[::-1])
    queries = comparison.queries
    assert list(queries["path"]) == sorted(queries["path"])
    assert list(queries["baseline_correct"]) == BASELINE
    assert list(queries["candidate_correct"]) == CANDIDATE
    assert queries["candidate_nearest_path"][1] == "reference/0000/001.jpg"
    assert queries["baseline_nearest_identity"][1] == "0001"


def test_other_queries_do_not_match() -> None:
    with pytest.raises(ValueError, match=r"`candidate` should be evaluated on the data of `ba"):
        compare_predictions(make_predictions(BASELINE), make_predictions(CANDIDATE[1:]))


def test_won_and_lost_queries_begin_with_the_most_similar_errors() -> None:
    comparison = compared()
    assert list(comparison.won.index) == [8, 5, 2]  # similarities rise with the number of the query
    assert list(comparison.lost.index) == [1]


def test_other_measures_that_both_have() -> None:
    matches = np.arange(9) % 4
    known = {"matches": matches, "rank5": np.where(np.arange(9) < 7, 1.0, np.nan)}
    shares = [np.where(matches > 0, value, np.nan) for value in (np.arange(9) / 10, 0.9)]
    baseline, candidate = (
        make_predictions(right).assign(**known, **{"tar_far_1e-2": share})
        for right, share in zip((BASELINE, CANDIDATE), shares, strict=True)
    )
    others = compare_predictions(baseline, candidate.assign(map_all=0.5)).others
    assert list(others) == ["rank5", "tar_far_1e-2"]
    assert (others["rank5"].queries, others["rank5"].difference) == (7, 0)
    pairs = others["tar_far_1e-2"]
    by_pair = np.repeat(np.arange(9) / 10, matches)
    assert pairs.queries == (matches > 0).sum()
    assert pairs.baseline == pytest.approx(by_pair.mean())
    assert pairs.difference == pytest.approx((0.9 - by_pair).mean())
    metrics = compare_predictions(baseline, candidate).metrics()
    assert metrics["compare/tar_far_1e-2_difference"] == pairs.difference
    assert metrics["compare/tar_far_1e-2_difference_ci_low"] == pairs.interval[0]


class TestCompareRuns:
    def test_counts_and_shares(self) -> None:
        comparison = compared()
        assert (len(comparison.won), len(comparison.lost)) == (3, 1)
        assert comparison.count(baseline=True, candidate=True) == 4
        assert comparison.count(baseline=False, candidate=False) == 1
        assert comparison.accuracy.baseline == 5 / 9
        assert comparison.accuracy.candidate == 7 / 9
        assert comparison.p_value == (1 + 4 + 4 + 1) / 16
        assert comparison.mean_average_precision is None

    def test_average_precision_counts_where_it_is_defined(self) -> None:
        baseline = make_predictions(BASELINE, average_precision=[0.5] * 8 + [np.nan])
        candidate = make_predictions(CANDIDATE, average_precision=[0.5] * 7 + [0.9, np.nan])
        value = compare_predictions(baseline, candidate).mean_average_precision
        assert value is not None
        assert (value.queries, value.baseline) == (8, 0.5)
        assert value.difference == pytest.approx(0.4 / 8)

    def test_without_the_column_of_average_precision(self) -> None:
        candidate = make_predictions(CANDIDATE, average_precision=[0.5] * 9)
        baseline = make_predictions(BASELINE).drop(columns="average_precision")
        assert compare_predictions(baseline, candidate).mean_average_precision is None

    def test_options(self) -> None:
        with pytest.raises(ValueError, match=r"`confidence` should be a number between 0 and 1"):
            compared(confidence=95)
        assert compared(confidence=0.8).confidence == 0.8


# Won and lost 3 and 1, 9 and 1, and none: p is 0.625, 0.0215 and 1.
CLOSE = compared()
CLEAR = compared([False] * 9 + [True], [True] * 9 + [False])
ALIKE = compared(BASELINE, BASELINE)


def with_interval(comparison: Comparison, interval: tuple[float, float] | None) -> Comparison:
    difference = 0.0 if interval is None else sum(interval) / 2
    accuracy = PairedDifference(0.5, 0.5 + difference, interval, 100, 10)
    return replace(comparison, accuracy=accuracy)


@pytest.mark.parametrize(
    ("case", "interval", "verdict"),
    [
        (
            CLEAR,
            (0.1, 0.2),
            "candidate better in 1-NN accuracy: the 95 % interval excludes 0, and p is below 0.05",
        ),
        (
            CLEAR,
            (-0.2, -0.1),
            "candidate worse in 1-NN accuracy: the 95 % interval excludes 0, and p is below 0.05",
        ),
        (CLEAR, (0, 0.2), "no difference in 1-NN accuracy shown: the 95 % interval includes 0"),
        (CLOSE, (-0.1, 0.2), "no difference in 1-NN accuracy shown: the 95 % interval includes 0"),
        (
            CLOSE,
            (0.1, 0.2),
            "no difference in 1-NN accuracy shown: the 95 % interval excludes 0, but p is not",
        ),
        (CLEAR, None, "no verdict on 1-NN accuracy: the identities do not vary"),
        (
            ALIKE,
            None,
            "no difference in 1-NN accuracy shown: no query is right by one and wrong by the other",
        ),
    ],
)
def test_verdict(case: Comparison, interval: tuple[float, float] | None, verdict: str) -> None:
    assert with_interval(case, interval).verdict.startswith(verdict)


@pytest.mark.parametrize(
    ("rank_1", "precision", "others"),
    [
        ((-0.1, 0.2), (-0.1, 0.2), ""),
        ((0.1, 0.2), (-0.1, 0.2), "; rank-1 is higher: its interval excludes 0"),
        ((0.1, 0.2), (0.1, 0.2), "; rank-1 and mAP are higher: their intervals exclude 0"),
        (
            (0.1, 0.2),
            (-0.2, -0.1),
            "; rank-1 is higher: its interval excludes 0; mAP is lower: its interval excludes 0",
        ),
        (None, (-0.2, -0.1), "; mAP is lower: its interval excludes 0"),
    ],
)
def test_the_verdict_names_other_measures_that_differ(
    rank_1: tuple[float, float] | None, precision: tuple[float, float], others: str
) -> None:
    case = with_interval(CLOSE, (-0.1, 0.2))
    means = {"rank_1": rank_1, "mean_average_precision": precision}
    differences = {
        name: PairedDifference(0.5, 0.5 + sum(interval) / 2, interval, 100, 10)
        if interval
        else None
        for name, interval in means.items()
    }
    verdict = "no difference in 1-NN accuracy shown: the 95 % interval includes 0"
    assert replace(case, **differences).verdict == verdict + others


def test_rank_1_is_compared_where_both_have_a_match() -> None:
    baseline, candidate = make_predictions(BASELINE), make_predictions(CANDIDATE)
    baseline.loc[0, "cross_camera_rank"] = candidate.loc[8, "cross_camera_rank"] = pd.NA
    value = compare_predictions(baseline, candidate).rank_1
    assert value is not None
    assert value.queries == 7
    assert (value.baseline, value.candidate) == (4 / 7, 5 / 7)


def test_five_wins_by_five_people_are_no_proof() -> None:
    baseline = [False] * 5 + [True] * 55
    comparison = compared([baseline[i // 3 + i % 3 * 20] for i in range(60)], [True] * 60)
    assert comparison.accuracy.excludes_zero
    assert comparison.verdict.startswith(
        "no difference in 1-NN accuracy shown: the 95 % interval excludes 0, but p is not"
    )


def test_metrics_leave_out_what_is_not_given() -> None:
    names = set(with_interval(CLEAR, (0.1, 0.2)).metrics())
    without = set(with_interval(CLEAR, None).metrics())
    assert names - without == {"compare/difference_ci_low", "compare/difference_ci_high"}
    assert not any("map" in name for name in names)
