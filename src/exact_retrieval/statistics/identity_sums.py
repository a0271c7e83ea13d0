"""What all intervals are computed from: the sum over the queries of each identity.

Images of one person are alike, so queries are not independent draws, but people may be. A mean over
queries is therefore taken as a ratio of two sums over identities.
"""

import numpy as np
from jaxtyping import Float64, Real, Shaped


def sum_by_identity(
    values: Float64[np.ndarray, " Q"],
    identities: Shaped[np.ndarray, " Q"],
    weights: Real[np.ndarray, " Q"] | None = None,
) -> tuple[Float64[np.ndarray, " G"], Float64[np.ndarray, " G"]]:
    """Sum up the queries of each identity, in sorted order.

    Args:
        values: of the queries.
        identities: who is in each query.
        weights: how much each query counts; None for 1 each.

    Returns:
        The sums of the weighted values, and the sums of the weights.

    Example:
        >>> sum_by_identity(np.array([1.0, 0.0, 0.5]), np.array(["bob", "ann", "bob"]))
        (array([0. , 1.5]), array([1., 2.]))
    """
    weights = np.ones_like(values) if weights is None else weights
    _, group = np.unique(identities, return_inverse=True)
    return np.bincount(group, weights * values), np.bincount(group, weights)
