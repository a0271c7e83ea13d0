"""The similarity that defines the ranking: float64, one fixed order of summation."""

import math
from collections.abc import Iterator, Sequence
from typing import Literal

import torch
from jaxtyping import Float, Float64, Int64
from torch import Tensor

from .threads import map_in_threads, threads_on

Distance = Literal["cosine", "euclidean", "inner_product"]

# Elements of temporaries: more leave the caches, with fewer calls cost more than arithmetic.
_TERMS = 2**19  # of pairs or rows
_GRID = 2**20  # of all pairs of some rows
_ROWS = 8  # queries of such a grid
_PARTS = 8  # of the groups for each thread, so that all end at about the same time


def pair_similarity(
    query: Float[Tensor, "Q D"],
    reference: Float[Tensor, "R D"],
    query_index: Int64[Tensor, " N"],
    reference_index: Int64[Tensor, " N"],
    *,
    distance: Distance,
    norms: tuple[Float64[Tensor, " Q"], Float64[Tensor, " R"]] | None = None,
) -> Float64[Tensor, " N"]:
    r"""Score pairs of embeddings in float64.

    .. math::
        s_\text{cosine} = \frac{q \cdot r}{\sqrt{q \cdot q}\,\sqrt{r \cdot r}}, \qquad
        s_\text{euclidean} = -\sum_d (q_d - r_d)^2, \qquad
        s_\text{inner product} = q \cdot r

    Products, sums, quotients and roots are separate elementwise IEEE 754 operations, the sums in
    the order of :func:`halving_sum`: the result is the same bit for bit on every device and in
    every batch.

    Args:
        query: embeddings of queries.
        reference: embeddings of references, in the dtype of ``query``.
        query_index: rows of ``query``.
        reference_index: rows of ``reference``.
        distance: what to score by.
        norms: as for :func:`grid_similarity`.

    Returns:
        The similarity of each pair; larger is nearer.
    """
    similarity = grid_similarity(
        query, reference, query_index, reference_index[:, None], distance=distance, norms=norms
    )
    return similarity[:, 0]


def grid_similarity(
    query: Float[Tensor, "Q D"],
    reference: Float[Tensor, "R D"],
    query_index: Int64[Tensor, " N"],
    reference_index: Int64[Tensor, "N M"],
    *,
    distance: Distance,
    norms: tuple[Float64[Tensor, " Q"], Float64[Tensor, " R"]] | None = None,
) -> Float64[Tensor, "N M"]:
    """Score each of N queries with M references of its own, as :func:`pair_similarity` does.

    Args:
        query: embeddings of queries.
        reference: embeddings of references, in the dtype of ``query``.
        query_index: rows of ``query``.
        reference_index: rows of ``reference``.
        distance: what to score by.
        norms: what :func:`defined_norms` returns for all embeddings, if that is known. Otherwise
            the norms that cosine needs are computed for these rows.
    """
    products = _products(query, reference, query_index, reference_index, distance)
    if distance != "cosine":
        return products
    if norms is not None:
        q, r = norms[0][query_index], norms[1][reference_index]
    else:
        q, r = _norms_of(query, query_index), _norms_of(reference, reference_index)
    return products / (q[:, None] * r)


def cross_similarities(
    query: Float[Tensor, "Q D"],
    reference: Float[Tensor, "R D"],
    groups: Sequence[tuple[Int64[Tensor, " _"], Int64[Tensor, " _"]]],
    *,
    distance: Distance,
) -> Iterator[Float64[Tensor, "_ _"]]:
    """Score all pairs in each of some groups, as :func:`pair_similarity` does.

    Groups should be of similar size: some at a time are scored on one thread. They share a
    temporary, since fresh memory costs more than the arithmetic.

    Args:
        query: embeddings of queries.
        reference: embeddings of references, in the dtype of ``query``.
        groups: rows [N] of ``query`` and [M] of ``reference``.
        distance: what to score by.

    Yields:
        The similarities [N, M] of each group.
    """

    def score(part: Sequence[tuple[Tensor, Tensor]]) -> list[Tensor]:
        elements = max(_GRID, _ROWS * query.shape[1])
        room = query.new_empty(elements, dtype=torch.float64)
        return [
            _cross_similarity(
                query.index_select(0, i), reference.index_select(0, j), distance, room
            )
            for i, j in part
        ]

    size = max(1, len(groups) // (_PARTS * threads_on(query.device)))
    parts = [groups[start : start + size] for start in range(0, len(groups), size)]
    for similarities in map_in_threads(score, parts, query.device):
        yield from similarities


def _cross_similarity(query: Tensor, reference: Tensor, distance: Distance, room: Tensor) -> Tensor:
    q, r = (_columns(rows, distance) for rows in (query, reference))
    products = query.new_empty((len(query), len(reference)), dtype=torch.float64)
    width = max(1, min(len(room) // (_ROWS * len(q)), len(reference)))
    for i in range(0, len(query), _ROWS):
        for j in range(0, len(reference), width):
            some, others = q[:, i : i + _ROWS, None], r[:, None, j : j + width]
            shape = len(q), some.shape[1], others.shape[2]
            terms = room[: math.prod(shape)].view(shape)
            if distance == "euclidean":
                torch.sub(others, some, out=terms).square_()
            else:
                torch.mul(others, some, out=terms)
            products[i : i + _ROWS, j : j + width] = halving_sum(terms.movedim(0, -1))
    if distance == "euclidean":
        return 0.0 - products
    if distance == "cosine":
        products /= defined_norms(query)[:, None] * defined_norms(reference)
    return products


def _columns(rows: Tensor, distance: Distance) -> Tensor:
    """Convert rows to float64, and return their columns [D, N], over which sums are fastest."""
    if distance == "cosine" and rows.dtype == torch.float64:
        rows = balance(rows)
    return rows.T.contiguous().double()


def _products(
    query: Tensor,
    reference: Tensor,
    query_index: Tensor,
    reference_index: Tensor,
    distance: Distance,
) -> Tensor:
    """Score as :func:`grid_similarity` does, up to the norms of cosine.

    All chunks share their temporaries, since fresh memory costs more than the arithmetic.
    """
    pairs, width = reference_index.shape[1], query.shape[1]
    products = query.new_empty(reference_index.shape, dtype=torch.float64)
    size = max(1, min(_TERMS // (width * max(1, pairs)), len(products)))
    q_room, r_room = (query.new_empty((size, n, width)) for n in (1, pairs))
    q_wide, r_wide = (torch.empty_like(room, dtype=torch.float64) for room in (q_room, r_room))
    is_balanced = distance == "cosine" and query.dtype == torch.float64
    for start in range(0, len(products), size):
        i, j = query_index[start : start + size], reference_index[start : start + size]
        q, r = q_room[: len(i)], r_room[: len(i)]
        torch.index_select(query, 0, i, out=q[:, 0])
        torch.index_select(reference, 0, j.flatten(), out=r.flatten(0, 1))
        if is_balanced:
            q, r = balance(q), balance(r)
        q, r = q_wide[: len(i)].copy_(q), r_wide[: len(i)].copy_(r)
        terms = r.sub_(q).square_() if distance == "euclidean" else r.mul_(q)
        products[start : start + size] = halving_sum(terms)
    return 0.0 - products if distance == "euclidean" else products


def _norms_of(rows: Tensor, index: Tensor) -> Tensor:
    """Compute the norms of ``rows[index]``, of each row once."""
    if index.numel() >= len(rows):
        return defined_norms(rows)[index]
    chosen, place = index.unique(return_inverse=True)
    parts = chosen.split(max(1, _TERMS // rows.shape[1]))
    return torch.cat([defined_norms(rows.index_select(0, part)) for part in parts])[place]


def defined_norms(rows: Float[Tensor, "N D"]) -> Float64[Tensor, " N"]:
    """Compute the norms that the cosine of :func:`pair_similarity` has in its denominator.

    Rows of float64 are balanced before, as the products are.
    """
    size = max(1, min(_TERMS // rows.shape[1], len(rows)))
    room = rows.new_empty((size, rows.shape[1]), dtype=torch.float64)
    norms = rows.new_empty(len(rows), dtype=torch.float64)
    for part, found in zip(rows.split(size), norms.split(size), strict=True):
        terms = room[: len(part)].copy_(balance(part) if part.dtype == torch.float64 else part)
        torch.sqrt(halving_sum(terms.square_()), out=found)
    return norms


def halving_sum(terms: Float64[Tensor, "*rows D"]) -> Float64[Tensor, "*rows"]:
    """Sum rows by adding the second half to the first until one column is left.

    This is pairwise summation of the row padded with zeros to a power of two. Its error is at most
    gamma(L) times the sum of magnitudes, with L the number of halvings (Higham, *Accuracy and
    Stability of Numerical Algorithms*, 2nd ed., section 4.2).

    Args:
        terms: addends, which are overwritten.
    """
    half = 1 << (terms.shape[-1] - 1).bit_length() >> 1
    columns = terms.movedim(-1, 0)
    while half:
        columns, rest = columns[:half], columns[half:]
        columns[: len(rest)].add_(rest)  # at first, some may meet the padding instead
        half //= 2
    return columns[0] + 0.0  # no negative zero, which some sorts tell from zero


def balance(rows: Float64[Tensor, "*rows D"]) -> Float64[Tensor, "*rows D"]:
    """Scale rows by powers of two to a greatest magnitude in [0.5, 1), or zero."""
    exponent = rows.abs().amax(dim=-1, keepdim=True).frexp().exponent.long()
    first = -exponent // 2  # in two steps: one power of two spans half of float64's exponents
    return rows * _power_of_two(first) * _power_of_two(-exponent - first)


def _power_of_two(exponent: Tensor) -> Tensor:
    """Compute ``2.0 ** exponent`` exactly, from the bits, for int64 in [-1022, 1023]."""
    return ((exponent + 1023) << 52).view(torch.float64)
