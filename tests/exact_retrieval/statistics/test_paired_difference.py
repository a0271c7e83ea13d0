import random
from statistics import NormalDist

import numpy as np
import numpy.typing as npt
import pytest

from src.exact_retrieval.statistics.paired_difference import paired_difference

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
        value = paired_difference(
            np.array(baseline, float), np.array(candidate, float), np.array(identity)
        )
        assert value.interval is None
        assert not value.excludes_zero
        assert value.difference == pytest.approx(np.mean(candidate) - np.mean(baseline))

    @pytest.mark.usefixtures("unchecked")
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
            paired_difference(*sample(0), **options)  # type: ignore[arg-type]


def test_a_weight_counts_like_so_many_copies() -> None:
    baseline, candidate, people = sample(9)
    weights = np.random.default_rng(10).integers(1, 6, len(people))
    found = paired_difference(baseline, candidate, people, weights=weights)
    copies = paired_difference(*(column.repeat(weights) for column in sample(9)))
    assert found.baseline == pytest.approx(copies.baseline)
    assert found.candidate == pytest.approx(copies.candidate)
    assert found.interval == pytest.approx(copies.interval)
    assert found.interval != pytest.approx(paired_difference(*sample(9)).interval)
