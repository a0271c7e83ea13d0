"""How sure a mean over queries is, had other people been in the test."""

import numpy as np
import scipy
from jaxtyping import Float64, Real, Shaped

from .identity_sums import sum_by_identity

FEWEST_IDENTITIES = 10
"""With fewer identities, an interval may hold the true mean less often than it says."""


def identity_interval(
    values: Float64[np.ndarray, " Q"],
    identities: Shaped[np.ndarray, " Q"],
    *,
    weights: Real[np.ndarray, " Q"] | None = None,
    confidence: float = 0.95,
    resamples: int = 2000,
    seed: int = 0,
) -> tuple[float, float]:
    r"""Estimate the confidence interval of a mean over queries, had other people been in the test.

    It is the interval of Wilson ("Probable Inference, the Law of Succession, and Statistical
    Inference", JASA 1927) about the mean :math:`p`,

    .. math::
        \frac{p + t^2 / 2m \pm t \sqrt{p (1 - p) / m + t^2 / 4m^2}}{1 + t^2 / m}

    for as many independent queries, :math:`m`, as would vary like these, who come in groups: the
    effective sample size. :math:`t` is Student's quantile with one degree of freedom less than
    there are identities. Survey statistics does the same for shares in cluster samples (Korn and
    Graubard, Survey Methodology 1998; Franco et al., "Comparative Study of Confidence Intervals for
    Proportions in Complex Sample Surveys", J. Survey Statistics and Methodology 2019).

    Nominal 95 % intervals held the true mean in at least 93 % of simulated tests, for means from
    0.1 to 0.98 and from 5 identities on (`benchmarks/intervals.py`). There, how difficult an
    identity is does not depend on how many queries it has.

    Args:
        values: of the queries, in [0, 1]; NaN leaves a query out.
        identities: who is in each query.
        weights: how much each query counts, at least 0; None for 1 each. With the number of its
            pairs as the weight of a query, the mean is one over pairs.
        confidence: nominal probability that the interval holds the true mean.
        resamples: without effect, as is `seed`: earlier versions resampled identities.
        seed: likewise.

    Returns:
        Lower and upper bound, which enclose the mean; NaN if fewer than two identities are left.

    Raises:
        ValueError: for a confidence that `check_confidence` refuses.

    Example:
        >>> right, people = np.array([1.0, 1, 0, 1, 1, 0]), np.array([3, 3, 3, 5, 5, 8])
        >>> low, high = identity_interval(right, people)
        >>> bool(0 <= low < right.mean() < high <= 1)
        True
    """
    check_confidence(confidence)
    counted = ~np.isnan(values)
    weights = None if weights is None else weights[counted]
    sums, sizes = sum_by_identity(values[counted], identities[counted], weights)
    sums, sizes = sums[sizes > 0], sizes[sizes > 0]
    if len(sizes) < 2:
        return np.nan, np.nan
    mean = sums.sum() / sizes.sum()
    unit = student_quantile(confidence, len(sizes)) ** 2 / _effective_size(sums, sizes)
    middle = mean + unit / 2
    margin = np.sqrt(unit * (mean * (1 - mean) + unit / 4))
    low, high = (middle - margin) / (1 + unit), (middle + margin) / (1 + unit)
    # Rounding could put a bound beyond 0 or 1, or inside a mean of 0 or 1.
    return float(min(max(low, 0), mean)), float(max(min(high, 1), mean))


def _effective_size(sums: Float64[np.ndarray, " G"], sizes: Float64[np.ndarray, " G"]) -> float:
    """Return the number of independent queries whose mean would vary as much as this one.

    The variance is that of a ratio of sums over identities, linearised (Cochran, *Sampling
    Techniques*, 3rd ed., 1977, section 6.3). Few identities may all be alike by chance, above all
    near 0 or 1. So one more is added, of average size: it is right with half of its weight and
    wrong with the other half. (Agresti and Coull, "Approximate Is Better than 'Exact'", The
    American Statistician 1998, likewise add observations to a share.)
    """
    size = sizes.mean()
    total = sizes.sum() + size
    mean = (sums.sum() + size / 2) / total
    squares = ((sums - mean * sizes) ** 2).sum()
    squares += size**2 * ((1 - mean) ** 2 + mean**2) / 2
    variance = len(sizes) / (len(sizes) - 1) * squares / total**2
    return float(mean * (1 - mean) / variance)


def student_quantile(confidence: float, identities: int) -> float:
    """Return by how many standard errors an interval extends to either side."""
    return float(scipy.special.stdtrit(identities - 1, (1 + confidence) / 2))


def check_confidence(confidence: float) -> None:
    """Refuse the level of an interval before the work starts.

    Raises:
        ValueError: if `confidence` is not between 0 and 1.
    """
    if not isinstance(confidence, float) or not 0 < confidence < 1:
        raise ValueError(f"`confidence` should be a number between 0 and 1, got {confidence!r}")
