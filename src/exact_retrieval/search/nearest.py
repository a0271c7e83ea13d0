"""Exact nearest references: certified search in low precision, float64 for what is left."""

from collections.abc import Callable
from typing import Literal, get_args

import torch
from torch import Tensor

from .bits import as_integers
from .certificate import COPIES, Frame
from .inputs import check_embeddings, check_norms, row_norms
from .multiplication import (
    Precision,
    fastest_precision,
    multiplication_is_covered,
)
from .neighbors import Neighbors
from .scoring import Distance
from .sweep import Sweep

_CHUNK = 2**20  # elements of a temporary
_SAMPLE_QUERIES, _SAMPLE_REFERENCES = 64, 1024


@torch.no_grad()
def nearest_references(
    query: Tensor,
    reference: Tensor,
    *,
    k: int = 1,
    distance: Distance = "cosine",
    query_groups: Tensor | None = None,
    reference_groups: Tensor | None = None,
    precision: Precision | Literal["auto"] = "auto",
) -> Neighbors:
    """Find the k most similar references of every query, exactly.

    The ranking is by definition that of :func:`~.scoring.pair_similarity`,
    computed in float64 from the embeddings as given, the lower index first where similarities are
    equal. It does not depend on device, threads or ``precision``: a product in low precision only
    rules out references that provably are not among the k nearest (the proof is in
    :mod:`~.certificate`), and a query for which too many are left is searched
    again in float32, then in float64.

    Args:
        query: embeddings [Q, D]; float16, bfloat16, float32 or float64.
        reference: embeddings [R, D] of the same dtype and on the same device.
        k: number of neighbours.
        distance: ``"cosine"``, ``"inner_product"``, or ``"euclidean"``, for which the similarity is
            the negative squared distance.
        query_groups: int64 [Q]. No reference of a query's own group is a neighbour of it; for
            example a number that stands for identity and camera.
        reference_groups: int64 [R], given together with ``query_groups``.
        precision: what to search in first: ``"int8"``, ``"bfloat16"``, ``"float32"``,
            ``"float64"``, or ``"auto"`` for
            :func:`~.multiplication.fastest_precision`. One in which the
            device is less accurate than the proof assumes is passed over.

    Returns:
        Similarities and indices, each [Q, k]. Beyond the embeddings, the search holds
        O(Q (D + k) + R) numbers and a constant. It runs on the CPU for a device without float64
        (MPS).

    Raises:
        ValueError: for shapes, dtypes, devices or options that do not fit, NaN or infinity, a zero
            vector under cosine, and float64 whose squares overflow under euclidean or inner
            product.

    Example:
        >>> import torch
        >>> reference = torch.tensor([[1.0, 0.0], [0.0, 2.0], [3.0, 4.0]])
        >>> query = torch.tensor([[0.0, 1.0], [1.0, 1.0]])
        >>> nearest_references(query, reference, k=2).index
        tensor([[1, 2],
                [2, 0]])
        >>> nearest_references(query, reference, distance="euclidean").similarity
        tensor([[-1.],
                [-1.]], dtype=torch.float64)
    """
    _check_inputs(query, reference, k, distance, query_groups, reference_groups, precision)
    device = query.device
    if device.type == "mps":
        query, reference = query.cpu(), reference.cpu()
    groups = None
    if query_groups is not None and reference_groups is not None:
        groups = query_groups.to(query.device), reference_groups.to(query.device)
    with torch.autocast(query.device.type, enabled=False):
        norms = row_norms(query), row_norms(reference)
        check_norms(*norms, distance)
        first = fastest_precision(query.device) if precision == "auto" else precision
        found = _search(query, reference, groups, norms, k, distance, first)
    return Neighbors(*(field.to(device) for field in found))


def _search(
    query: Tensor,
    reference: Tensor,
    groups: tuple[Tensor, Tensor] | None,
    norms: tuple[Tensor, Tensor],
    k: int,
    distance: Distance,
    first: Precision,
) -> Neighbors:
    """Search in one precision after another until no query is left."""
    similarity = query.new_full((len(query), k), -torch.inf, dtype=torch.float64)
    index = query.new_full((len(query), k), -1, dtype=torch.int64)
    pending = torch.arange(len(query), device=query.device)
    kept = None
    for name in dict.fromkeys((first, "float32", "float64")):
        dtype = getattr(torch, name)
        last = dtype == torch.float64
        used = {dtype, torch.promote_types(dtype, torch.float32)}
        width = query.shape[1] + (COPIES if dtype == torch.int8 else 1)
        if not (last or all(multiplication_is_covered(query.device, d, width) for d in used)):
            continue
        sweep = _prepare(query, reference, groups, norms, distance, dtype)
        searched = torch.arange(len(reference), device=query.device) if kept is None else kept
        if last or not _is_hopeless(sweep, pending, searched, k):
            found, given_up = sweep(pending, kept, k).run()
            similarity[pending], index[pending] = found
            pending = pending[given_up]
        if not len(pending):
            break
        if kept is None:
            kept = _first_copies(reference, groups and groups[1], k)
    return Neighbors(similarity, index)


def _prepare(
    query: Tensor,
    reference: Tensor,
    groups: tuple[Tensor, Tensor] | None,
    norms: tuple[Tensor, Tensor],
    distance: Distance,
    precision: torch.dtype,
) -> Callable[[Tensor, Tensor | None, int], Sweep]:
    """Choose coordinates for a precision; return what searches some queries and references."""
    frame = Frame.fit(reference, *norms, distance=distance, precision=precision)
    last = precision == torch.float64

    def sweep(queries: Tensor, kept: Tensor | None, k: int) -> Sweep:
        return Sweep(
            query[queries],
            reference,
            norms[1],
            kept,
            groups and (groups[0][queries], groups[1]),
            k,
            distance,
            frame,
            frame.slack(norms[0][queries]),
            budget=None if last else 16 * k + len(reference) // 512,
        )

    return sweep


def _is_hopeless(
    sweep: Callable[[Tensor, Tensor | None, int], Sweep],
    queries: Tensor,
    references: Tensor,
    k: int,
) -> bool:
    """Tell from a sample whether a precision is too coarse for most queries.

    Costs a hundredth of a large search; of a small one the outcome is as soon known by trying.
    """
    share, every = len(queries) // _SAMPLE_QUERIES, len(references) // _SAMPLE_REFERENCES
    if min(share, every) < 8:
        return False
    return sweep(queries[::share], references[::every], -(-k // every)).gives_up_most()


def _first_copies(reference: Tensor, groups: Tensor | None, k: int) -> Tensor | None:
    """Drop rows [R, D] that have so many equals before them that no query can rank them among k.

    Equal rows tie for every query. Of one row in one group, a query that may have any copy may have
    all, so the first k suffice. Of what is left of one row, a query is denied one group, at most k
    copies; so the first 2 k suffice.

    Returns:
        The indices of rows that stay, ascending; None if all do.
    """
    row = _identify(reference)
    if groups is None:
        kept = (_occurrence(row) < k).nonzero()[:, 0]
    else:
        kept = (_occurrence(row, groups) < k).nonzero()[:, 0]
        kept = kept[_occurrence(row[kept]) < 2 * k]
    return None if len(kept) == len(reference) else kept


def _identify(rows: Tensor) -> Tensor:
    """Number rows [N, D] so that equal numbers mean equal bits.

    A row is compared with its predecessor in the order of a hash. Where hashes collide, equal rows
    may get several numbers.
    """
    bits = as_integers(rows.contiguous())
    generator = torch.Generator().manual_seed(0)
    odd = torch.randint(-(2**62), 2**62, (bits.shape[1],), generator=generator) * 2 + 1
    size = max(1, _CHUNK // bits.shape[1])
    code, order = torch.cat(
        [(part * odd.to(bits.device)).sum(dim=1) for part in torch.split(bits, size)]
    ).sort()
    new = torch.ones_like(code, dtype=torch.bool)
    new[1:] = code[1:] != code[:-1]
    for same in torch.split((~new).nonzero()[:, 0], size):
        new[same] = (bits[order[same - 1]] != bits[order[same]]).any(dim=1)
    return torch.empty_like(order).scatter_(0, order, new.cumsum(0))


def _occurrence(*keys: Tensor) -> Tensor:
    """Count for each entry [N] the earlier ones that are equal in all keys."""
    position = torch.arange(len(keys[0]), device=keys[0].device)
    order, new = position, position == 0
    for key in keys:
        order = order[key[order].argsort(stable=True)]
    for key in keys:
        new[1:] |= key[order[1:]] != key[order[:-1]]
    start = torch.where(new, position, 0).cummax(dim=0).values
    return torch.empty_like(order).scatter_(0, order, position - start)


def _check_inputs(
    query: Tensor,
    reference: Tensor,
    k: int,
    distance: str,
    query_groups: Tensor | None,
    reference_groups: Tensor | None,
    precision: str,
) -> None:
    check_embeddings(query, reference)
    if isinstance(k, bool) or not isinstance(k, int) or k < 1:
        raise ValueError(f"`k` should be a positive integer, got {k!r}")
    for option, value, values in (
        ("distance", distance, get_args(Distance)),
        ("precision", precision, ("auto", *get_args(Precision))),
    ):
        if value not in values:
            raise ValueError(f"`{option}` should be one of {', '.join(values)}, got {value!r}")
    if (query_groups is None) != (reference_groups is None):
        raise ValueError(
            "`query_groups` and `reference_groups` should be given together, got only one"
        )
    for name, groups, rows in (
        ("query_groups", query_groups, query),
        ("reference_groups", reference_groups, reference),
    ):
        if groups is not None and (groups.shape != rows.shape[:1] or groups.dtype != torch.int64):
            raise ValueError(
                f"`{name}` should be int64 of shape [{len(rows)}], "
                f"got {groups.dtype} of {list(groups.shape)}"
            )
