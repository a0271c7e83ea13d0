"""Checks of the embeddings that a kernel compares."""

import torch
from jaxtyping import Float, Float64
from torch import Tensor

from .scoring import Distance, balance

_CHUNK = 2**20  # elements of a temporary
_SAFE = 2.0**40  # norms between its inverse and this have squares well inside float32's range


def check_embeddings(query: Tensor, reference: Tensor) -> None:
    """Refuse embeddings that cannot be compared by shape, dtype or device.

    Args:
        query: should be floating [Q, D].
        reference: should be floating [R, D], of the same dtype and on the same device.

    Raises:
        ValueError: if they are not so, or one of Q, R and D is 0.
    """
    for name, rows, letter in (("query", query, "Q"), ("reference", reference, "R")):
        if rows.ndim != 2 or 0 in rows.shape:
            raise ValueError(
                f"`{name}` should have shape [{letter}, D], none of them 0, got {list(rows.shape)}"
            )
        if rows.dtype not in (torch.float16, torch.bfloat16, torch.float32, torch.float64):
            raise ValueError(
                f"`{name}` should be a tensor of float16, bfloat16, float32 or float64, "
                f"got {rows.dtype} of {type(rows).__module__}.{type(rows).__name__}"
            )
    for what in ("dtype", "device"):
        expected, got = getattr(query, what), getattr(reference, what)
        if expected != got:
            raise ValueError(
                f"`reference` should have the {what} of `query`, {expected}, got {got}"
            )
    if query.shape[1] != reference.shape[1]:
        raise ValueError(
            f"`reference` should have the width of `query`, {query.shape[1]}, "
            f"got {reference.shape[1]}"
        )


def check_norms(
    query_norm: Float64[Tensor, " Q"], reference_norm: Float64[Tensor, " R"], distance: Distance
) -> None:
    """Refuse embeddings that have no finite similarity.

    Args:
        query_norm: what :func:`row_norms` returns for the queries.
        reference_norm: what it returns for the references.
        distance: what to compare by.

    Raises:
        ValueError: for NaN or infinity, a zero vector under cosine, and float64 whose squares
            overflow under euclidean or inner product.
    """
    for name, norm in (("query", query_norm), ("reference", reference_norm)):
        if bool(norm.isnan().any()):
            row = int(norm.isnan().nonzero()[0])
            raise ValueError(f"`{name}` should be finite, got NaN or infinity in row {row}")
        if distance == "cosine" and not bool(norm.all()):
            row = int((norm == 0).nonzero()[0])
            raise ValueError(
                f"`{name}` should have no zero vector under cosine, got one in row {row}"
            )
    q, r = float(query_norm.max()), float(reference_norm.max())
    extent = {"cosine": 0.0, "inner_product": q * r, "euclidean": (q + r) * (q + r)}[distance]
    if extent > 2.0**1023:
        raise ValueError(
            f"`query` and `reference` should have norms whose {distance} similarity is finite "
            f"in float64, got norms up to {q:.3g} and {r:.3g}"
        )


def row_norms(rows: Float[Tensor, "N D"]) -> Float64[Tensor, " N"]:
    """Compute the norms of rows, at most float64's greatest number; NaN for rows not finite.

    Rows narrower than float64 are summed in float32, unless squares may leave its range.
    """
    norms = []
    for part in torch.split(rows, max(1, _CHUNK // rows.shape[1])):
        narrow = part if part.dtype == torch.float64 else part.float()
        norm = torch.linalg.vector_norm(narrow, dim=1).double()
        is_safe = (norm > 1 / _SAFE) & (norm < _SAFE)
        norms.append(norm if bool(is_safe.all()) else _balanced_norms(part.double()))
    return torch.cat(norms)


def _balanced_norms(rows: Tensor) -> Tensor:
    """Compute norms [N] of float64 rows [N, D] whose squares may leave the range."""
    peak, balanced = rows.abs().amax(dim=1), balance(rows)
    ratio = torch.linalg.vector_norm(balanced, dim=1) / balanced.abs().amax(dim=1).clamp_min(0.5)
    norm: Tensor = (peak * ratio).clamp_max(torch.finfo(torch.float64).max)
    norm[~peak.isfinite()] = torch.nan
    return norm
