"""The threshold on a similarity that errs equally often in both directions."""

import numpy as np
from jaxtyping import Float64, Int64


def equal_error(
    edges: Float64[np.ndarray, " E"],
    same: Int64[np.ndarray, " B"],
    different: Int64[np.ndarray, " B"],
) -> tuple[float, float]:
    r"""Find the threshold at which false rejects are as frequent as false accepts.

    Whoever takes a pair for one person if its similarity is at least :math:`t` errs with

    .. math::
        \text{false reject rate}(t) &= \frac{\#\{\text{same identity, similarity} < t\}}
            {\#\{\text{same identity}\}} \\
        \text{false accept rate}(t) &= \frac{\#\{\text{different identity, similarity} \ge t\}}
            {\#\{\text{different identity}\}}

    The first rises with :math:`t`, the second falls. Pairs are taken to be spread evenly inside a
    bin, so both are linear there. If the rates are equal on an interval, as between two
    distributions that do not overlap, the threshold is its middle.

    Args:
        edges: of the bins, ascending.
        same: pairs of one identity in each bin, at least one in all.
        different: pairs of two identities, likewise.

    Returns:
        The threshold, and the rate that both are there, in [0, 1].

    Raises:
        ValueError: if there are no pairs of one kind.

    Example:
        >>> equal_error(np.arange(4.0), np.array([0, 2, 2]), np.array([2, 2, 0]))
        (1.5, 0.25)
    """
    _check_inputs(same, different)
    rejected, accepted = np.cumsum(same), np.cumsum(different[::-1])[::-1]
    false_reject = np.concatenate(([0.0], rejected / rejected[-1]))
    false_accept = np.concatenate((accepted / accepted[0], [0.0]))
    excess = false_reject - false_accept  # never falls, from -1 at the first edge to 1 at the last
    last = int(np.flatnonzero(excess <= 0)[-1])
    first = int(np.flatnonzero(excess >= 0)[0])
    if first <= last:
        return float((edges[first] + edges[last]) / 2), float(false_reject[first])
    ends = [last, first]  # of the bin in which the rates cross
    threshold = np.interp(0.0, excess[ends], edges[ends])
    rate = np.interp(0.0, excess[ends], false_reject[ends])
    return float(threshold), float(rate)


def _check_inputs(same: Int64[np.ndarray, " B"], different: Int64[np.ndarray, " B"]) -> None:
    for name, counts in (("same", same), ("different", different)):
        if counts.sum() == 0:
            raise ValueError(f"`{name}` should count at least one pair, got none")
