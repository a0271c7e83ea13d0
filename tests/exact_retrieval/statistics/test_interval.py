from typing import Any

import numpy as np
import pytest
from scipy import optimize, stats

from src.exact_retrieval.statistics.interval import identity_interval


def draw(
    rng: np.random.Generator, identities: int, mean: float, concentration: float = 3
) -> tuple[np.ndarray, np.ndarray]:
    """Queries of people who are more or less hard: right and wrong answers come in clusters."""
    share = rng.beta(concentration * mean, concentration * (1 - mean), identities)
    people = np.repeat(np.arange(identities), rng.integers(1, 8, identities))
    return (rng.random(len(people)) < share[people]).astype(float), people


def naive_interval(
    values: np.ndarray, people: np.ndarray, weights: np.ndarray, confidence: float
) -> list[float]:
    """The means that a score test does not reject, an identity at a time."""
    groups = [
        [
            (value, weight)
            for value, who, weight in zip(values, people, weights, strict=True)
            if who == person
        ]
        for person in sorted(set(people))
    ]
    groups = [group for group in groups if sum(weight for _, weight in group) > 0]
    total = sum(weight for group in groups for _, weight in group)
    mean = sum(weight * value for group in groups for value, weight in group) / total
    average = total / len(groups)
    # One more person, who is all right or all wrong, each with half of the weight.
    shrunk = (mean * total + average / 2) / (total + average)
    squares = sum(
        sum(weight * (value - shrunk) for value, weight in group) ** 2 for group in groups
    )
    squares += ((average * (1 - shrunk)) ** 2 + (average * (0 - shrunk)) ** 2) / 2
    variance = squares / (total + average) ** 2 * len(groups) / (len(groups) - 1)
    size = shrunk * (1 - shrunk) / variance
    t = stats.t(len(groups) - 1).ppf((1 + confidence) / 2)

    def excess(true: float) -> float:
        return (mean - true) ** 2 - t**2 * true * (1 - true) / size

    return [
        optimize.brentq(excess, *side, xtol=1e-14) if excess(end) > 0 else end
        for side, end in (((0.0, mean), 0.0), ((mean, 1.0), 1.0))
    ]


@pytest.mark.parametrize("identities", [2, 10, 80])
@pytest.mark.parametrize("confidence", [0.8, 0.95])
def test_equals_the_oracle(identities: int, confidence: float) -> None:
    rng = np.random.default_rng(identities)
    values, people = draw(rng, identities, 0.7)
    values = np.where(rng.random(len(values)) < 0.3, rng.random(len(values)), values)
    once = np.ones_like(values)
    expected = naive_interval(values, people, once, confidence)
    assert identity_interval(values, people, confidence=confidence) == pytest.approx(expected)
    weights = rng.integers(0, 5, len(values)).astype(float)
    expected = naive_interval(values, people, weights, confidence)
    found = identity_interval(values, people, weights=weights, confidence=confidence)
    assert found == pytest.approx(expected)


@pytest.mark.parametrize("identities", [5, 10, 20, 100])
@pytest.mark.parametrize(("mean", "concentration"), [(0.6, 3), (0.9, 1)])
@pytest.mark.parametrize("kind", ["accuracy", "average precision"])
def test_holds_the_true_mean_as_often_as_it_says(
    identities: int, mean: float, concentration: float, kind: str
) -> None:
    rng = np.random.default_rng(2)
    held = 0
    for _ in range(1000):
        values, people = draw(rng, identities, mean, concentration)
        if kind == "average precision":
            share = rng.beta(concentration * mean, concentration * (1 - mean), identities)[people]
            share = share.clip(1e-9, 1 - 1e-9)
            values = rng.beta(4 * share, 4 * (1 - share))
        low, high = identity_interval(values, people)
        held += low <= mean <= high
    assert held >= 930


def test_many_identities_have_an_interval_as_narrow_as_resampling_them() -> None:
    values, people = draw(np.random.default_rng(0), 750, 0.9)
    sums, counts = np.bincount(people, values), np.bincount(people)
    drawn = np.random.default_rng(1).integers(0, 750, (4000, 750))
    means = sums[drawn].sum(axis=1) / counts[drawn].sum(axis=1)
    low, high = identity_interval(values, people)
    assert high - low < 1.03 * np.diff(np.quantile(means, [0.025, 0.975]))[0]


def test_counting_images_would_be_too_sure() -> None:
    values, people = draw(np.random.default_rng(3), 100, 0.7)
    low, high = identity_interval(values, people)
    independent = stats.binomtest(int(values.sum()), len(values)).proportion_ci()
    assert high - low > 1.2 * (independent.high - independent.low)


def test_names_and_order_of_identities_do_not_matter() -> None:
    values, people = draw(np.random.default_rng(5), 30, 0.7)
    assert identity_interval(values, people * 7 + 100) == identity_interval(values, people)
    backwards = identity_interval(values[::-1], people[::-1])
    assert backwards == pytest.approx(identity_interval(values, people), rel=1e-14)


def test_queries_without_a_value_or_a_weight_are_left_out() -> None:
    values, people = draw(np.random.default_rng(6), 30, 0.7)
    expected = identity_interval(values, people)
    more = np.append(people, [0, 999])
    assert identity_interval(np.append(values, [np.nan, np.nan]), more) == expected
    weights = np.append(np.ones_like(values), [0.0, 0.0])
    assert identity_interval(np.append(values, [1.0, 1.0]), more, weights=weights) == expected


@pytest.mark.parametrize("right", [0.0, 1.0])
@pytest.mark.parametrize("identities", [2, 20, 750])
def test_all_right_or_all_wrong(right: float, identities: int) -> None:
    low, high = identity_interval(
        np.full(2 * identities, right), np.repeat(np.arange(identities), 2)
    )
    exact = stats.binomtest(round(right * identities), identities).proportion_ci()
    # About as sure as if each person were one independent query, and surely never surer by a half.
    assert (high if right else low) == right
    assert 0.5 * (exact.high - exact.low) < high - low < 1.5 * (exact.high - exact.low)


@pytest.mark.parametrize(("values", "people"), [([0.0, 1.0], [3, 3]), ([np.nan, 1.0], [3, 4])])
def test_one_person_tells_nothing_of_others(values: list[float], people: list[int]) -> None:
    assert np.isnan(identity_interval(np.array(values), np.array(people))).all()


@pytest.mark.usefixtures("unchecked")
@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"confidence": 95}, r"`confidence` should be a number between 0 and 1, got 95"),
        ({"confidence": "high"}, r"`confidence` should be a number between 0 and 1, got 'high'"),
        ({"confidence": 0.0}, r"`confidence` should be a number between 0 and 1, got 0.0"),
        ({"confidence": 1.0}, r"`confidence` should be a number between 0 and 1, got 1.0"),
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


@pytest.mark.parametrize("value", [0.0, 1.0])
def test_rounding_moves_no_bound_beyond_the_possible(value: float) -> None:
    rng = np.random.default_rng(11)
    for identities in range(2, 200):
        people = np.arange(identities).repeat(rng.integers(1, 9, identities))
        low, high = identity_interval(np.full(len(people), value), people)
        assert 0 <= low <= value <= high <= 1
        assert value in (low, high)
