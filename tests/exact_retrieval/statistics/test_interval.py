from typing import Any

import numpy as np
import pytest
from scipy import stats

from src.exact_retrieval.statistics.interval import identity_interval


def draw(rng: np.random.Generator, identities: int, mean: float) -> tuple[np.ndarray, np.ndarray]:
    """Queries of people who are more or less hard: right and wrong answers come in clusters."""
    share = rng.beta(3 * mean, 3 * (1 - mean), identities)
    people = np.repeat(np.arange(identities), rng.integers(1, 9, identities))
    return (rng.random(len(people)) < share[people]).astype(float), people


def test_equals_resampling_by_hand() -> None:
    values, people = draw(np.random.default_rng(0), 80, 0.7)
    rng = np.random.default_rng(1)
    means = []
    for _ in range(4000):
        drawn = rng.integers(0, 80, 80)
        chosen = np.concatenate([values[people == person] for person in drawn])
        means.append(chosen.mean())
    by_hand = np.quantile(means, [0.025, 0.975])
    # BCa moves the percentiles a little; a tenth of the width is more than that.
    width = by_hand[1] - by_hand[0]
    assert identity_interval(values, people) == pytest.approx(by_hand, abs=0.1 * width)


@pytest.mark.parametrize("mean", [0.6, 0.9])
def test_holds_the_true_mean_as_often_as_it_says(mean: float) -> None:
    rng = np.random.default_rng(2)
    held = 0
    for _ in range(1000):
        low, high = identity_interval(*draw(rng, 100, mean), resamples=500)
        held += low <= mean <= high
    assert 920 <= held <= 980


def test_resampling_images_would_be_too_sure() -> None:
    values, people = draw(np.random.default_rng(3), 100, 0.7)
    low, high = identity_interval(values, people)
    independent = stats.binomtest(int(values.sum()), len(values)).proportion_ci()
    assert high - low > 1.2 * (independent.high - independent.low)


def test_the_seed_decides() -> None:
    data = draw(np.random.default_rng(4), 30, 0.7)
    assert identity_interval(*data, seed=5) == identity_interval(*data, seed=5)
    assert identity_interval(*data, seed=5) != identity_interval(*data, seed=6)


def test_names_and_order_of_identities_do_not_matter() -> None:
    values, people = draw(np.random.default_rng(5), 30, 0.7)
    assert identity_interval(values, people * 7 + 100) == identity_interval(values, people)


def test_queries_without_a_value_are_left_out() -> None:
    values, people = draw(np.random.default_rng(6), 30, 0.7)
    more = np.append(values, [np.nan, np.nan]), np.append(people, [0, 999])
    assert identity_interval(*more) == identity_interval(values, people)


@pytest.mark.parametrize("right", [0.0, 1.0])
def test_no_variation_leaves_the_binomial_interval(right: float) -> None:
    low, high = identity_interval(np.full(40, right), np.repeat(np.arange(20), 2))
    bound = 0.025 ** (1 / 20)  # 20 of 20 with this probability happens in 2.5 % of all cases
    expected = (bound, 1.0) if right else (0.0, 1 - bound)
    assert (low, high) == pytest.approx(expected)


@pytest.mark.parametrize(
    ("values", "people"),
    [
        ([0.0, 1.0], [3, 3]),
        ([0.0, 1.0, 0.0, 1.0], [3, 3, 4, 4]),
        ([np.nan, 1.0], [3, 4]),
        ([0.1, 0.1, np.nextafter(0.1, 1)], [3, 4, 5]),
    ],
)
def test_where_nothing_can_be_told(values: list[float], people: list[int]) -> None:
    assert np.isnan(identity_interval(np.array(values), np.array(people))).all()


@pytest.mark.usefixtures("unchecked")
@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"confidence": 95}, r"`confidence` should be a number between 0 and 1, got 95"),
        ({"confidence": "high"}, r"`confidence` should be a number between 0 and 1, got 'high'"),
        ({"seed": -1}, r"`seed` should be an integer of at least 0, got -1"),
        ({"resamples": 0}, r"`resamples` should be an integer of at least 100, got 0"),
    ],
)
def test_refuses_options(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        identity_interval(np.array([0.0, 1.0]), np.array([1, 2]), **options)


def test_a_weight_counts_like_so_many_copies() -> None:
    values, people = draw(np.random.default_rng(7), 30, 0.7)
    weights = np.random.default_rng(8).integers(0, 6, len(values))
    copies = identity_interval(values.repeat(weights), people.repeat(weights))
    missing = np.where(weights == 0, np.nan, values)
    assert identity_interval(missing, people, weights=weights) == pytest.approx(copies, abs=1e-12)
    assert identity_interval(values, people) != pytest.approx(copies, abs=1e-3)
