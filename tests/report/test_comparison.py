import math
import random
from statistics import NormalDist

import numpy as np
import numpy.typing as npt
import pandas as pd
import pytest

from src.report.comparison import (
    Comparison,
    PairedDifference,
    compare_outcomes,
    lost_queries,
    match_queries,
    mcnemar_p_value,
    paired_difference,
    won_queries,
)
from tests.report.evaluations import make_predictions

Values = npt.NDArray[np.float64]


def naive_interval(differences: Values, identity: Values, confidence: float) -> list[float]:
    """BCa by the book, an identity at a time."""
    groups = [list(differences[identity == name]) for name in np.unique(identity)]

    def mean(chosen: list[list[float]]) -> float:
        return sum(map(sum, chosen)) / sum(map(len, chosen))

    draw = random.Random(1)
    resamples = sorted(mean(draw.choices(groups, k=len(groups))) for _ in range(4000))
    below = sum((r < mean(groups)) + (r == mean(groups)) / 2 for r in resamples)
    without = [mean(groups[:i] + groups[i + 1 :]) for i in range(len(groups))]
    centred = [sum(without) / len(without) - value for value in without]
    skew = sum(c**3 for c in centred) / (6 * sum(c**2 for c in centred) ** 1.5)
    bias = NormalDist().inv_cdf(below / len(resamples))
    bounds = []
    for share in ((1 - confidence) / 2, (1 + confidence) / 2):
        z = bias + NormalDist().inv_cdf(share)
        place = NormalDist().cdf(bias + z / (1 - skew * z))
        bounds.append(resamples[round(place * (len(resamples) - 1))])
    return bounds


def naive_p_value(won: int, lost: int) -> float:
    n = won + lost
    probabilities = [math.comb(n, k) / 2**n for k in range(n + 1)]
    return sum(p for p in probabilities if p <= probabilities[won])


def sample(seed: int, *, people: int = 40) -> tuple[Values, Values, Values]:
    """Values of queries, 1 to 6 of a person: most people gain a little, few of them much."""
    rng = np.random.default_rng(seed)
    identity = np.repeat(np.arange(people), rng.integers(1, 7, people)).astype(float)
    gain = rng.exponential(0.2, people)[identity.astype(int)]
    baseline = rng.random(len(identity))
    return baseline, baseline + gain + rng.normal(0, 0.05, len(identity)), identity


class TestPairedDifference:
    @pytest.mark.parametrize("seed", [0, 1])
    @pytest.mark.parametrize("confidence", [0.8, 0.95])
    def test_equals_the_oracle(self, seed: int, confidence: float) -> None:
        baseline, candidate, identity = sample(seed)
        value = paired_difference(
            baseline, candidate, identity, confidence=confidence, resamples=4000
        )
        expected = naive_interval(candidate - baseline, identity, confidence)
        assert value.difference == pytest.approx(np.mean(candidate - baseline))
        assert value.interval == pytest.approx(expected, abs=0.06 * (expected[1] - expected[0]))
        assert (value.queries, value.identities) == (len(identity), 40)

    def test_more_images_of_the_same_people_tell_nothing_new(self) -> None:
        baseline, candidate, identity = sample(0)
        once = paired_difference(baseline, candidate, identity)
        many = paired_difference(*(np.repeat(v, 9) for v in (baseline, candidate, identity)))
        assert many.interval == pytest.approx(once.interval)
        assert many.queries == 9 * once.queries

    def test_the_order_of_queries_does_not_matter(self) -> None:
        values = sample(0)
        order = np.random.default_rng(1).permutation(len(values[0]))
        shuffled = paired_difference(*(value[order] for value in values))
        assert shuffled.interval == pytest.approx(paired_difference(*values).interval)

    def test_the_seed_decides(self) -> None:
        values = sample(0)
        intervals = [paired_difference(*values, seed=seed).interval for seed in (0, 0, 1)]
        assert intervals[0] == intervals[1] != intervals[2]

    @pytest.mark.parametrize(
        ("baseline", "candidate", "identity"),
        [
            ([0, 1, 1, 0], [0, 1, 1, 0], ["a", "a", "b", "b"]),  # no query differs
            ([0, 0, 0, 0], [1, 1, 1, 1], ["a", "a", "b", "c"]),  # all differ
            ([0.1, 0.3, 0.7], [0.2, 0.4, 0.8], ["a", "b", "c"]),  # all by the same
            ([0, 0, 1], [1, 0, 1], ["a", "a", "a"]),  # one person
        ],
    )
    def test_no_interval_where_identities_do_not_vary(
        self, baseline: list[float], candidate: list[float], identity: list[str]
    ) -> None:
        value = paired_difference(np.array(baseline), np.array(candidate), identity)
        assert value.interval is None
        assert not value.excludes_zero
        assert value.difference == pytest.approx(np.mean(candidate) - np.mean(baseline))


@pytest.mark.parametrize("won", range(0, 13, 3))
@pytest.mark.parametrize("lost", [0, 1, 6, 40])
def test_mcnemar_equals_the_oracle(won: int, lost: int) -> None:
    assert mcnemar_p_value(won, lost) == pytest.approx(naive_p_value(won, lost))
    assert mcnemar_p_value(lost, won) == pytest.approx(naive_p_value(won, lost))


def test_mcnemar_without_discordant_queries() -> None:
    assert mcnemar_p_value(0, 0) == 1


BASELINE = [True, True, False, False, True, False, True, True, False]
CANDIDATE = [True, False, True, False, True, True, True, True, True]


def matched(baseline: list[bool] = BASELINE, candidate: list[bool] = CANDIDATE) -> pd.DataFrame:
    return match_queries(make_predictions(baseline), make_predictions(candidate)[::-1])


def test_queries_are_matched_by_path() -> None:
    queries = matched()
    assert list(queries["path"]) == sorted(queries["path"])
    assert list(queries["baseline_correct"]) == BASELINE
    assert list(queries["candidate_correct"]) == CANDIDATE
    assert queries["candidate_nearest_path"][1] == "reference/0000/001.jpg"
    assert queries["baseline_nearest_identity"][1] == "0001"


def test_other_queries_do_not_match() -> None:
    with pytest.raises(ValueError, match=r"`candidate` should have the queries of `baseline`"):
        match_queries(make_predictions(BASELINE), make_predictions(CANDIDATE[1:]))


def test_won_and_lost_queries_begin_with_the_most_similar_errors() -> None:
    won, lost = won_queries(matched()), lost_queries(matched())
    assert list(won.index) == [8, 5, 2]  # similarities rise with the number of the query
    assert list(lost.index) == [1]


class TestCompareOutcomes:
    def test_counts_and_shares(self) -> None:
        comparison = compare_outcomes(matched())
        counts = (comparison.both_right, comparison.won, comparison.lost, comparison.both_wrong)
        assert counts == (4, 3, 1, 1)
        assert comparison.accuracy.baseline == 5 / 9
        assert comparison.accuracy.candidate == 7 / 9
        assert comparison.p_value == naive_p_value(3, 1)
        assert comparison.mean_average_precision is None

    def test_average_precision_counts_where_it_is_defined(self) -> None:
        baseline = make_predictions(BASELINE, average_precision=[0.5] * 8 + [np.nan])
        candidate = make_predictions(CANDIDATE, average_precision=[0.5] * 7 + [0.9, np.nan])
        value = compare_outcomes(match_queries(baseline, candidate)).mean_average_precision
        assert value is not None
        assert (value.queries, value.baseline) == (8, 0.5)
        assert value.difference == pytest.approx(0.4 / 8)

    def test_without_the_column_of_average_precision(self) -> None:
        candidate = make_predictions(CANDIDATE, average_precision=[0.5] * 9)
        baseline = make_predictions(BASELINE).drop(columns="average_precision")
        queries = match_queries(baseline, candidate)
        assert compare_outcomes(queries).mean_average_precision is None

    @pytest.mark.parametrize(
        ("options", "message"),
        [
            ({"confidence": 95}, r"`confidence` should be a number between 0 and 1, got 95"),
            ({"resamples": 0}, r"`resamples` should be an integer of at least 100, got 0"),
            ({"resamples": 2e3}, r"`resamples` should be an integer .*, got 2000.0"),
        ],
    )
    def test_options(self, options: dict[str, float], message: str) -> None:
        with pytest.raises(ValueError, match=message):
            compare_outcomes(matched(), **options)  # type: ignore[arg-type]

    def test_no_queries(self) -> None:
        with pytest.raises(ValueError, match=r"`queries` should have at least one row"):
            compare_outcomes(matched([], []))


def comparison(
    interval: tuple[float, float] | None, p_value: float, won: int = 3, lost: int = 1
) -> Comparison:
    difference = 0.0 if interval is None else sum(interval) / 2
    accuracy = PairedDifference(0.5, 0.5 + difference, interval, 100, 10)
    return Comparison(accuracy, None, won, lost, 50, 46, p_value, 0.95, 2000, 0)


@pytest.mark.parametrize(
    ("case", "verdict"),
    [
        (comparison((0.1, 0.2), 0.01), "candidate better: the 95 % interval excludes 0, and p is"),
        (comparison((-0.2, -0.1), 0.01), "candidate worse: the 95 % interval excludes 0, and p is"),
        (comparison((0, 0.2), 0.01), "no difference shown: the 95 % interval includes 0"),
        (comparison((-0.1, 0.2), 0.9), "no difference shown: the 95 % interval includes 0"),
        (comparison((0.1, 0.2), 0.2), "no difference shown: the 95 % interval excludes 0, but p"),
        (comparison(None, 0.01), "no verdict: the identities do not vary"),
        (comparison(None, 1, 0, 0), "no difference shown: no query is right by one and wrong by"),
    ],
)
def test_verdict(case: Comparison, verdict: str) -> None:
    assert case.verdict.startswith(verdict)


def test_three_wins_by_three_people_are_no_proof() -> None:
    baseline = [False] * 3 + [True] * 57
    queries = matched([baseline[i // 3 + i % 3 * 20] for i in range(60)], [True] * 60)
    outcome = compare_outcomes(queries)
    assert outcome.accuracy.excludes_zero
    assert outcome.verdict.startswith("no difference shown: the 95 % interval excludes 0, but p")


def test_metrics_leave_out_what_is_not_given() -> None:
    names = set(comparison((0.1, 0.2), 0.01).metrics())
    without = set(comparison(None, 0.01).metrics())
    assert names - without == {"compare/difference_ci_low", "compare/difference_ci_high"}
    assert not any("map" in name for name in names)
