"""k-reciprocal encodings of images, as sparse rows.

Zhong et al., "Re-ranking Person Re-identification with k-reciprocal Encoding", CVPR 2017. An image
is encoded by weights of images near it, of which there are few. So the N x N matrix of all
encodings has few entries, and no dense matrix of that size is made.
"""

from collections.abc import Callable

import numpy as np
import scipy
from jaxtyping import Float64, Int, Int64


def encode(
    nearest: Int64[np.ndarray, "N K"],
    distance: Callable[
        [Int64[np.ndarray, " P"], Int64[np.ndarray, " P"]], Float64[np.ndarray, " P"]
    ],
    *,
    k1: int,
    k2: int,
) -> "scipy.sparse.csr_array":
    r"""Encode each image by the images that it and its neighbours have as reciprocal neighbours.

    Let :math:`R(i, k)` be the images among the k + 1 nearest to i that have i among their k + 1
    nearest. With h = k1 / 2, rounded half to even, it is expanded to

    .. math:: R^*(i) = R(i, k_1) \cup \bigcup_{c \in R(i, k_1),\;
        |R(i, k_1) \cap R(c, h)| > \frac23 |R(c, h)|} R(c, h)

    Image i has the weight :math:`e^{-d_{ij}}` at each j of :math:`R^*(i)`, divided by the sum of
    these weights. At last, each row becomes the mean of those of the k2 nearest, unless k2 is 1.

    Args:
        nearest: of each image, the nearest first, as a rule the image itself; max(k1 + 1, k2)
            columns, or N if that is less.
        distance: of pairs (i, j), as i scales it.
        k1: neighbours that may be reciprocal.
        k2: neighbours that are averaged over.

    Returns:
        Rows [N, N] of non-negative weights that sum to 1, or are all 0 for an image that is not
        among its own neighbours.
    """
    reciprocal = _reciprocal(nearest[:, : k1 + 1])
    core = _reciprocal(nearest[:, : round(k1 / 2) + 1])
    # `core` is symmetric, so row i of the product counts, at c, what R(i, k1) and R(c, h) share.
    shared = (reciprocal @ core).multiply(reciprocal).tocoo()
    is_accepted = 3 * shared.data > 2 * core.sum(axis=1)[shared.col]
    row, column = shared.row[is_accepted], shared.col[is_accepted]
    expanded = reciprocal + _indicator(row, column, len(nearest)) @ core
    i, j = (index.astype(np.int64) for index in expanded.nonzero())
    weight = np.exp(-distance(i, j))
    total = np.bincount(i, weight, minlength=len(nearest))
    encoding = scipy.sparse.csr_array((weight / total[i], (i, j)), expanded.shape)
    if k2 > 1:
        few = nearest[:, :k2]
        encoding = _of_neighbors(few) @ encoding / few.shape[1]
    encoding.sort_indices()
    return encoding


def share_weights(
    encoding: "scipy.sparse.csr_array", others: "scipy.sparse.csc_array"
) -> Float64[np.ndarray, "B M"]:
    r"""Sum the lesser weights of each pair of rows, :math:`\sum_c \min(v_c, w_c)`.

    Args:
        encoding: B rows.
        others: M rows, by columns.
    """
    shared = np.empty((encoding.shape[0], others.shape[0]))
    for row in range(len(shared)):
        own = slice(*encoding.indptr[row : row + 2])
        column, weight = encoding.indices[own], encoding.data[own]
        start = others.indptr[column].astype(np.int64)
        count = others.indptr[column + 1] - start
        before = count.cumsum() - count
        entry = np.repeat(start - before, count) + np.arange(count.sum())
        lesser = np.minimum(np.repeat(weight, count), others.data[entry])
        shared[row] = np.bincount(others.indices[entry], lesser, minlength=others.shape[0])
    return shared


def _reciprocal(nearest: Int64[np.ndarray, "N K"]) -> "scipy.sparse.csr_array":
    """Mark the pairs of which each is among the other's nearest."""
    forward = _of_neighbors(nearest)
    return forward.multiply(forward.T).tocsr()


def _of_neighbors(nearest: Int64[np.ndarray, "N K"]) -> "scipy.sparse.csr_array":
    row = np.repeat(np.arange(len(nearest)), nearest.shape[1])
    return _indicator(row, nearest.ravel(), len(nearest))


def _indicator(
    row: Int[np.ndarray, " P"], column: Int[np.ndarray, " P"], images: int
) -> "scipy.sparse.csr_array":
    """Return 1 at some pairs of images, as a sparse matrix of int32."""
    ones = np.ones(len(row), np.int32)
    return scipy.sparse.csr_array((ones, (row, column)), (images, images))
