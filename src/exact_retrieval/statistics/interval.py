"""How sure a mean over queries is, had other people been in the test."""

import numpy as np
import scipy
from jaxtyping import Float64, Shaped

from .bootstrap import bootstrap_mean, has_spread, sum_by_identity

_FEWEST_RESAMPLES = 100
_ROUNDING = 1e-12  # of means in [0, 1]


def identity_interval(
    values: Float64[np.ndarray, " Q"],
    identities: Shaped[np.ndarray, " Q"],
    *,
    confidence: float = 0.95,
    resamples: int = 2000,
    seed: int = 0,
) -> tuple[float, float]:
    """Estimate the confidence interval of a mean over queries, by resampling identities.

    The interval is that of `bootstrap_mean`. If all values are 1, or all are 0, resamples do not
    vary. Then it is the exact binomial interval (Clopper and Pearson, Biometrika 1934) of the share
    of identities.

    Args:
        values: of the queries, in [0, 1]; NaN leaves a query out.
        identities: who is in each query.
        confidence: nominal probability that the interval holds the true mean.
        resamples: number of resamples.
        seed: of the resamples.

    Returns:
        Lower and upper bound; NaN if fewer than two identities are left, or if all identities have
        the same mean other than 0 and 1.

    Raises:
        ValueError: for options that `check_interval_options` refuses.

    Example:
        >>> right, people = np.array([1.0, 1, 0, 1, 1, 0]), np.array([3, 3, 3, 5, 5, 8])
        >>> low, high = identity_interval(right, people)
        >>> bool(0 <= low < right.mean() < high <= 1)
        True
    """
    check_interval_options(confidence, resamples, seed)
    counted = ~np.isnan(values)
    sums, counts = sum_by_identity(values[counted], identities[counted])
    if has_spread(sums, counts):
        return bootstrap_mean(sums, counts, confidence=confidence, resamples=resamples, seed=seed)
    if len(counts) < 2:
        return np.nan, np.nan
    mean = sums[0] / counts[0]
    if min(mean, 1 - mean) > _ROUNDING:
        return np.nan, np.nan
    share = scipy.stats.binomtest(round(len(counts) * mean), len(counts))
    interval = share.proportion_ci(confidence, method="exact")
    return float(interval.low), float(interval.high)


def check_interval_options(confidence: float, resamples: int, seed: int) -> None:
    """Refuse options of an interval before the work starts.

    Raises:
        ValueError: if `confidence` is not between 0 and 1, `resamples` no integer of at least 100,
            or `seed` no integer of at least 0.
    """
    if not isinstance(confidence, float) or not 0 < confidence < 1:
        raise ValueError(f"`confidence` should be a number between 0 and 1, got {confidence!r}")
    if not isinstance(seed, int) or seed < 0:
        raise ValueError(f"`seed` should be an integer of at least 0, got {seed!r}")
    if not isinstance(resamples, int) or resamples < _FEWEST_RESAMPLES:
        raise ValueError(
            f"`resamples` should be an integer of at least {_FEWEST_RESAMPLES}, got {resamples!r}"
        )
