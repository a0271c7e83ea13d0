"""Where a threshold on the similarity errs equally often in both directions."""

import numpy as np

from src.exact_retrieval.retrieval.similarity_histogram import SimilarityHistogram


def equal_error(histogram: SimilarityHistogram) -> tuple[float, float]:
    r"""Find the threshold at which false rejects are as frequent as false accepts.

    Whoever takes a pair for one person where its similarity is at least :math:`t` errs with

    .. math::
        \text{false reject rate}(t) &= \frac{\#\{\text{same identity, similarity} < t\}}
            {\#\{\text{same identity}\}} \\
        \text{false accept rate}(t) &= \frac{\#\{\text{different identity, similarity} \ge t\}}
            {\#\{\text{different identity}\}}

    The first grows with :math:`t`, the second falls. Pairs are taken to be spread evenly inside a
    bin, so both are linear there. Where the rates are equal on an interval, as between two
    distributions that do not overlap, the threshold is its middle.

    Args:
        histogram: with at least one pair of each kind.

    Returns:
        The threshold, and the rate that both are there, in [0, 1].

    Raises:
        ValueError: if there are no pairs of one kind.
    """
    _check_inputs(histogram)
    same, different = np.cumsum(histogram.same), np.cumsum(histogram.different[::-1])[::-1]
    false_reject = np.concatenate(([0.0], same / same[-1]))
    false_accept = np.concatenate((different / different[0], [0.0]))
    excess = false_reject - false_accept  # never falls, from -1 at the first edge to 1 at the last
    last = int(np.flatnonzero(excess <= 0)[-1])
    first = int(np.flatnonzero(excess >= 0)[0])
    if first <= last:
        middle = (histogram.edges[first] + histogram.edges[last]) / 2
        return float(middle), float(false_reject[first])
    ends = [last, first]  # of the bin in which the rates cross
    threshold = np.interp(0.0, excess[ends], histogram.edges[ends])
    rate = np.interp(0.0, excess[ends], false_reject[ends])
    return float(threshold), float(rate)


def _check_inputs(histogram: SimilarityHistogram) -> None:
    for name, counts in (("same", histogram.same), ("different", histogram.different)):
        if counts.sum() == 0:
            raise ValueError(f"`{name}` should count at least one pair, got none")
