"""How sure a mean over queries is, when other people might have been in the test."""

import numpy as np
import numpy.typing as npt
from scipy import stats


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

    Example:
        >>> right, people = np.array([1.0, 1, 0, 1, 1, 0]), np.array([3, 3, 3, 5, 5, 8])
        >>> low, high = identity_interval(right, people)
        >>> bool(0 <= low < right.mean() < high <= 1)
        True
    """
    counted = ~np.isnan(values)
    values, identities = values[counted], identities[counted]
    _, group = np.unique(identities, return_inverse=True)
    counts = np.bincount(group).astype(np.float64)
    sums = np.bincount(group, weights=values)
    if len(counts) < 2:
        return np.nan, np.nan
    means = sums / counts
    if (means == means[0]).all():
        if means[0] not in (0, 1):
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
        confidence_level=confidence,
        method="BCa",
        rng=np.random.default_rng(seed),
    ).confidence_interval
    return float(found.low), float(found.high)
