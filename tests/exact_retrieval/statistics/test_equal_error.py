import math
from fractions import Fraction
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from src.exact_retrieval.statistics.equal_error import equal_error

Histogram = tuple[np.ndarray, np.ndarray, np.ndarray]


def histogram(same: list[int], different: list[int], width: float = 1.0) -> Histogram:
    return np.arange(len(same) + 1) * width, np.array(same), np.array(different)


def rates(histogram: Histogram, threshold: float) -> tuple[float, float]:
    """False reject and false accept rate, pair after pair, each spread evenly over its bin."""
    rejected, accepted = 0.0, 0.0
    edges, all_same, all_different = histogram
    counts = zip(all_same, all_different, strict=True)
    for (low, high), (same, different) in zip(pairwise(edges), counts, strict=True):
        below = min(max((threshold - low) / (high - low), 0.0), 1.0)
        rejected += below * same
        accepted += (1 - below) * different
    return rejected / all_same.sum(), accepted / all_different.sum()


counts = st.lists(st.integers(0, 9), min_size=6, max_size=6).filter(any)


@given(same=counts, different=counts)
def test_the_rates_are_equal_there(same: list[int], different: list[int]) -> None:
    pairs = histogram(same, different, width=0.25)
    threshold, rate = equal_error(*pairs)
    assert rates(pairs, threshold) == pytest.approx((rate, rate), abs=1e-12)


@given(same=counts, different=counts)
def test_the_threshold_is_the_middle_of_all_that_fit(same: list[int], different: list[int]) -> None:
    """Exact search: the excess is piecewise linear, so its roots lie at edges or on one segment."""
    excess = [
        Fraction(sum(same[:edge]), sum(same)) - Fraction(sum(different[edge:]), sum(different))
        for edge in range(len(same) + 1)
    ]
    roots = [Fraction(edge) for edge, value in enumerate(excess) if value == 0]
    for edge, (low, high) in enumerate(pairwise(excess)):
        if low < 0 < high:
            roots.append(edge - low / (high - low))
    threshold, _ = equal_error(*histogram(same, different))
    assert threshold == pytest.approx(float(min(roots) + max(roots)) / 2, abs=1e-12)


def test_equal_and_opposite_normal_distributions() -> None:
    """Normals of deviation s at -m and m err with the probability Phi(-m / s), at zero."""
    quantiles = (np.arange(1_000_000) + 0.5) / 1_000_000
    deviation, mean = 0.2, 0.25
    edges = np.linspace(-1.5, 1.5, 601)
    cumulative = np.array([math.erf(edge / deviation / math.sqrt(2)) for edge in edges])
    standard = np.interp(quantiles, (cumulative + 1) / 2, edges)
    same, different = (
        np.histogram(standard + shift, np.linspace(-2, 2, 801))[0] for shift in (mean, -mean)
    )
    threshold, rate = equal_error(np.linspace(-2, 2, 801), same, different)
    assert threshold == pytest.approx(0, abs=1e-3)
    assert rate == pytest.approx((1 - math.erf(mean / deviation / math.sqrt(2))) / 2, abs=1e-3)


def test_uniform_distributions() -> None:
    """On [1, 4) and [0, 3), a third is below 2 and at or above it; [1, 2) and [0, 2) likewise."""
    assert equal_error(*histogram([0, 3, 3, 3], [3, 3, 3, 0])) == pytest.approx((2, 1 / 3))
    assert equal_error(*histogram([0, 10], [5, 5])) == pytest.approx((4 / 3, 1 / 3))


def test_a_gap_between_the_distributions() -> None:
    assert equal_error(*histogram([0, 0, 0, 5], [7, 0, 0, 0])) == (2, 0)
    assert equal_error(*histogram([7, 0, 0, 0], [0, 0, 0, 5])) == (2, 1)
    assert equal_error(*histogram([0, 5], [7, 0])) == (1, 0)


def test_many_pairs_do_not_overflow() -> None:
    assert equal_error(*histogram([2**61, 2**61], [2**61, 2**61])) == (1, 0.5)


@pytest.mark.parametrize("missing", ["same", "different"])
def test_one_kind_alone(missing: str) -> None:
    pairs = {"same": [1, 2], "different": [3, 4], missing: [0, 0]}
    with pytest.raises(ValueError, match=rf"`{missing}` should count at least one pair, got none"):
        equal_error(*histogram(**pairs))


def test_an_ordinary_histogram() -> None:
    random, edges = np.random.default_rng(0), np.linspace(-1, 1, 201)
    same, different = random.normal(0.6, 0.1, 2000), random.normal(0.2, 0.1, 20000)
    counts = (np.histogram(similarities, edges)[0] for similarities in (same, different))
    threshold, rate = equal_error(edges, *counts)
    assert threshold == pytest.approx(0.4, abs=0.02)
    assert rate == pytest.approx(0.0228, abs=0.01)
