"""By how much a mean over queries differs between two evaluations of them."""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float64, Real, Shaped

from .bootstrap import bootstrap_mean, has_spread, sum_by_identity
from .interval import check_interval_options


@dataclass(frozen=True)
class PairedDifference:
    """How a mean over queries differs between two evaluations.

    Attributes:
        baseline: mean of the baseline.
        candidate: mean of the candidate.
        interval: bounds of `difference`, lower first; None if the identities do not vary, so that
            resampling them says nothing about the uncertainty.
        queries: the denominator of the means.
        identities: number of what was resampled.
    """

    baseline: float
    candidate: float
    interval: tuple[float, float] | None
    queries: int
    identities: int

    @property
    def difference(self) -> float:
        """Candidate minus baseline."""
        return self.candidate - self.baseline

    @property
    def excludes_zero(self) -> bool:
        """Whether there is an interval and 0 lies outside."""
        return self.interval is not None and not self.interval[0] <= 0 <= self.interval[1]


def paired_difference(
    baseline: Float64[np.ndarray, " Q"],
    candidate: Float64[np.ndarray, " Q"],
    identities: Shaped[np.ndarray, " Q"],
    *,
    weights: Real[np.ndarray, " Q"] | None = None,
    confidence: float = 0.95,
    resamples: int = 2000,
    seed: int = 0,
) -> PairedDifference:
    """Compare two means over the same queries.

    The interval is that of `bootstrap_mean`, of the mean of candidate - baseline. There is none for
    fewer than two identities, nor if the mean difference is the same for all identities, as when
    the evaluations agree on every query: each resample would give the same difference, and [0, 0]
    would claim a certainty that nobody has.

    Args:
        baseline: a value of each query.
        candidate: likewise.
        identities: who is in each query.
        weights: how often each query counts; once by default.
        confidence: nominal probability that the interval holds the true difference.
        resamples: number of resamples.
        seed: of the resamples.

    Raises:
        ValueError: for options that `check_interval_options` refuses.

    Example:
        >>> people = np.array([1, 1, 2, 3])
        >>> found = paired_difference(np.array([0.0, 1, 0, 1]), np.array([1.0, 1, 1, 1]), people)
        >>> found.difference, found.identities
        (0.5, 3)
    """
    check_interval_options(confidence, resamples, seed)
    sums, counts = sum_by_identity(candidate - baseline, identities, weights)
    interval = None
    if has_spread(sums, counts):
        interval = bootstrap_mean(
            sums, counts, confidence=confidence, resamples=resamples, seed=seed
        )
    return PairedDifference(
        baseline=float(np.average(baseline, weights=weights)),
        candidate=float(np.average(candidate, weights=weights)),
        interval=interval,
        queries=len(baseline),
        identities=len(counts),
    )
