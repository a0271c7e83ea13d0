import numpy as np
import numpy.typing as npt
import pytest
from scipy import stats

from src.exact_retrieval.statistics.paired_difference import paired_difference

Values = npt.NDArray[np.float64]


def naive_interval(differences: Values, identity: Values, confidence: float) -> list[float]:
    """Linearisation by the book, an identity at a time."""
    groups = [list(differences[identity == name]) for name in np.unique(identity)]
    mean = sum(map(sum, groups)) / len(differences)
    squares = sum(sum(value - mean for value in group) ** 2 for group in groups)
    error = (squares * len(groups) / (len(groups) - 1)) ** 0.5 / len(differences)
    t = stats.t(len(groups) - 1).ppf((1 + confidence) / 2)
    return [mean - t * error, mean + t * error]


def sample(seed: int, *, people: int = 40) -> tuple[Values, Values, Values]:
    """Values of queries, 1 to 6 of a person: most people gain a little, few of them much."""
    rng = np.random.default_rng(seed)
    identity = np.repeat(np.arange(people), rng.integers(1, 7, people)).astype(float)
    gain = rng.exponential(0.2, people)[identity.astype(int)]
    baseline = rng.random(len(identity))
    return baseline, baseline + gain + rng.normal(0, 0.05, len(identity)), identity


class TestPairedDifference:
    @pytest.mark.parametrize("people", [2, 40])
    @pytest.mark.parametrize("confidence", [0.8, 0.95])
    def test_equals_the_oracle(self, people: int, confidence: float) -> None:
        baseline, candidate, identity = sample(0, people=people)
        value = paired_difference(baseline, candidate, identity, confidence=confidence)
        expected = naive_interval(candidate - baseline, identity, confidence)
        assert value.difference == pytest.approx(np.mean(candidate - baseline))
        assert value.interval == pytest.approx(expected)
        assert (value.queries, value.identities) == (len(identity), people)

    @pytest.mark.parametrize("people", [10, 40])
    def test_holds_no_difference_as_often_as_it_says(self, people: int) -> None:
        rng = np.random.default_rng(4)
        held = given = 0
        for _ in range(1000):
            identity = np.repeat(np.arange(people), rng.integers(1, 8, people)).astype(float)
            share = rng.beta(1.6, 0.4, people)[identity.astype(int)]
            right = (rng.random((2, len(identity))) < share).astype(float)
            value = paired_difference(*right, identity)
            given += value.interval is not None
            held += value.interval is not None and not value.excludes_zero
        assert held >= 0.93 * given

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

    def test_options(self) -> None:
        with pytest.raises(ValueError, match=r"`confidence` should be a number .*, got 1.5"):
            paired_difference(*sample(0), confidence=1.5)


def test_a_weight_counts_like_so_many_copies() -> None:
    baseline, candidate, people = sample(9)
    weights = np.random.default_rng(10).integers(1, 6, len(people))
    found = paired_difference(baseline, candidate, people, weights=weights)
    copies = paired_difference(*(column.repeat(weights) for column in sample(9)))
    assert found.baseline == pytest.approx(copies.baseline)
    assert found.candidate == pytest.approx(copies.candidate)
    assert found.interval == pytest.approx(copies.interval)
    assert found.interval != pytest.approx(paired_difference(*sample(9)).interval)


def test_an_identity_without_weight_is_left_out() -> None:
    baseline, candidate, people = sample(9)
    weights = (people != people[0]).astype(float)
    found = paired_difference(baseline, candidate, people, weights=weights)
    kept = weights > 0
    others = paired_difference(baseline[kept], candidate[kept], people[kept])
    assert 0 < kept.sum() < len(kept)
    assert found.difference == pytest.approx(others.difference)
    assert found.interval == pytest.approx(others.interval)
