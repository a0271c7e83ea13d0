"""How sure a mean over queries is, when other people might have been in the test."""

import numpy as np
import numpy.typing as npt
from scipy import stats

_FEWEST_RESAMPLES = 100
_NO_SPREAD = 1e-12  # means lie in [0, 1] and are rounded at 1e-16
_BATCH = 2**22  # elements of a temporary


def identity_interval(
    values: npt.NDArray[np.float64],
    identities: npt.NDArray[np.int64],
    *,
    confidence: float = 0.95,
    resamples: int = 2000,
    seed: int = 0,
) -> tuple[float, float]:
    """Confidence interval of a mean over queries, by resampling identities.

    Images of one person are alike, so queries are no independent draws, but people may be. Each
    resample draws as many identities as there are, with replacement, and takes all their queries
    (the cluster bootstrap: Davison and Hinkley, *Bootstrap Methods and their Application*, 1997,
    section 3.8); its mean is over the queries it has. The interval is bias-corrected and
    accelerated (BCa: Efron, "Better Bootstrap Confidence Intervals", JASA 1987), by
    `scipy.stats.bootstrap`.

    Where all values are 1, or all 0, resampling shows no variation. Then it is the exact binomial
    interval (Clopper and Pearson, Biometrika 1934) of the share of identities with nothing else.

    Args:
        values: of the queries [Q]; NaN leaves a query out.
        identities: of the queries [Q].
        confidence: nominal probability that the interval holds the true mean.
        resamples: number of resamples.
        seed: of the resamples.

    Returns:
        Lower and upper bound; NaN where fewer than two identities are left, or all identities have
        one mean other than 0 and 1.

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
    values, identities = values[counted], identities[counted]
    _, group = np.unique(identities, return_inverse=True)
    counts = np.bincount(group).astype(np.float64)
    sums = np.bincount(group, weights=values)
    if len(counts) < 2:
        return np.nan, np.nan
    means = sums / counts
    if np.ptp(means) <= _NO_SPREAD:
        if min(means[0], 1 - means[0]) > _NO_SPREAD:
            return np.nan, np.nan
        share = stats.binomtest(round(len(means) * means[0]), len(means))
        interval = share.proportion_ci(confidence, method="exact")
        return float(interval.low), float(interval.high)
    found = stats.bootstrap(
        (sums, counts),
        lambda sums, counts, axis: sums.sum(axis=axis) / counts.sum(axis=axis),
        paired=True,
        vectorized=True,
        n_resamples=resamples,
        batch=max(1, _BATCH // len(counts)),
        confidence_level=confidence,
        method="BCa",
        rng=np.random.default_rng(seed),
    ).confidence_interval
    return float(found.low), float(found.high)


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
