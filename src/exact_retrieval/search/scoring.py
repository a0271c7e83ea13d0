"""The similarity that defines the ranking: float64, one fixed order of summation."""

from typing import Literal

import torch
from torch import Tensor

Distance = Literal["cosine", "euclidean", "inner_product"]

_CHUNK = 2**18  # elements of a temporary, which stays in a core's cache


def pair_similarity(
    query: Tensor,
    reference: Tensor,
    query_index: Tensor,
    reference_index: Tensor,
    *,
    distance: Distance,
) -> Tensor:
    r"""Score pairs of embeddings in float64.

    .. math::
        s_\text{cosine} = \frac{q \cdot r}{\sqrt{q \cdot q}\,\sqrt{r \cdot r}}, \qquad
        s_\text{euclidean} = -\sum_d (q_d - r_d)^2, \qquad
        s_\text{inner product} = q \cdot r

    Products, sums, quotients and roots are separate elementwise IEEE 754 operations, the sums in
    the order of :func:`halving_sum`: the result is the same bit for bit on every device and in
    every batch.

    Args:
        query: embeddings [Q, D], floating.
        reference: embeddings [R, D], floating.
        query_index: rows of ``query`` [N].
        reference_index: rows of ``reference`` [N].
        distance: what to score by.

    Returns:
        The similarity of each pair [N], float64; larger is nearer.
    """
    size = max(1, _CHUNK // query.shape[1])
    parts = zip(torch.split(query_index, size), torch.split(reference_index, size), strict=True)
    products = torch.cat(
        [
            _products(query.index_select(0, i), reference.index_select(0, j), distance)
            for i, j in parts
        ]
    )
    if distance != "cosine":
        return products
    return products / (_norms(query, query_index) * _norms(reference, reference_index))


def _products(query: Tensor, reference: Tensor, distance: Distance) -> Tensor:
    """Score rows [N, D] that are free to be overwritten, up to the norms of cosine."""
    if distance == "euclidean":
        return 0.0 - halving_sum(query.double().sub_(reference).square_())
    if distance == "cosine" and query.dtype == torch.float64:
        query, reference = balance(query), balance(reference)
    return halving_sum(query.double().mul_(reference))


def _norms(rows: Tensor, index: Tensor) -> Tensor:
    """Compute the norms of ``rows[index]``, of each row once."""
    norms = rows.new_zeros(len(rows), dtype=torch.float64)
    norms[index] = 1
    for part in torch.split(norms.nonzero()[:, 0], max(1, _CHUNK // rows.shape[1])):
        chosen = rows.index_select(0, part)
        chosen = balance(chosen) if rows.dtype == torch.float64 else chosen.double()
        norms[part] = halving_sum(chosen.square_()).sqrt()
    return norms[index]


def halving_sum(terms: Tensor) -> Tensor:
    """Sum rows by adding the second half to the first until one column is left.

    This is pairwise summation of the row padded with zeros to a power of two. Its error is at most
    gamma(L) times the sum of magnitudes, with L the number of halvings (Higham, *Accuracy and
    Stability of Numerical Algorithms*, 2nd ed., section 4.2).

    Args:
        terms: addends [N, D], D >= 1, which are overwritten.

    Returns:
        Sums [N].
    """
    half = 1 << (terms.shape[1] - 1).bit_length() >> 1
    while half:
        low, high = terms[:, :half], terms[:, half:]
        if (width := high.shape[1]) < half:  # at most once: the rest of ``low`` meets the padding
            terms = torch.cat((low[:, :width] + high, low[:, width:]), dim=1)
        else:
            terms = low.add_(high)
        half //= 2
    return terms[:, 0] + 0.0  # no negative zero, which some sorts tell from zero


def balance(rows: Tensor) -> Tensor:
    """Scale float64 rows [N, D] by powers of two to a greatest magnitude in [0.5, 1), or zero."""
    exponent = rows.abs().amax(dim=1, keepdim=True).frexp().exponent.long()
    first = -exponent // 2  # in two steps: one power of two spans half of float64's exponents
    return rows * _power_of_two(first) * _power_of_two(-exponent - first)


def _power_of_two(exponent: Tensor) -> Tensor:
    """Compute ``2.0 ** exponent`` exactly, from the bits, for int64 in [-1022, 1023]."""
    return ((exponent + 1023) << 52).view(torch.float64)
