"""The bootstrap of a mean over queries, by identities."""

import numpy as np
import scipy
from jaxtyping import Float64, Shaped

_NO_SPREAD = 1e-12  # means lie in [-1, 1] and are rounded at 2e-16
_BATCH = 2**22  # elements of a temporary


def sum_by_identity(
    values: Float64[np.ndarray, " Q"], identities: Shaped[np.ndarray, " Q"]
) -> tuple[Float64[np.ndarray, " G"], Float64[np.ndarray, " G"]]:
    """Return the sum and the number of the values of each identity, in sorted order."""
    _, group = np.unique(identities, return_inverse=True)
    counts = np.bincount(group).astype(np.float64)
    return np.bincount(group, weights=values), counts


def has_spread(sums: Float64[np.ndarray, " G"], counts: Float64[np.ndarray, " G"]) -> bool:
    """Tell whether the means of identities differ, so that resamples of them do."""
    return len(counts) > 1 and bool(np.ptp(sums / counts) > _NO_SPREAD)


def bootstrap_mean(
    sums: Float64[np.ndarray, " G"],
    counts: Float64[np.ndarray, " G"],
    *,
    confidence: float,
    resamples: int,
    seed: int,
) -> tuple[float, float]:
    """Estimate the interval of a mean over queries by resampling identities.

    Images of one person are alike, so queries are not independent draws, but people may be. Each
    resample draws as many identities as there are, with replacement, and takes all their queries
    (the cluster bootstrap: Davison and Hinkley, *Bootstrap Methods and their Application*, 1997,
    section 3.8). Its mean is over the queries that it has. The interval is bias-corrected and
    accelerated (BCa: Efron, "Better Bootstrap Confidence Intervals", JASA 1987), by
    `scipy.stats.bootstrap`.

    Args:
        sums: of the values of each identity; they have to satisfy `has_spread`.
        counts: of the queries of each identity.
        confidence: nominal probability that the interval holds the true mean.
        resamples: number of resamples.
        seed: of the resamples.

    Returns:
        Lower and upper bound.
    """
    interval = scipy.stats.bootstrap(
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
    return float(interval.low), float(interval.high)
