"""Exact nearest references: certified search in low precision, float64 for what is left."""

from typing import Literal, get_args

import torch
from jaxtyping import Float, Int64
from torch import Tensor

from .certificate import Frame
from .copies import first_copies
from .inputs import check_embeddings, check_norms, row_norms
from .limits import Limits
from .multiplication import Precision, fastest_precision, multiplication_is_covered
from .neighbors import Neighbors
from .problem import Problem
from .scoring import Distance, defined_norms
from .sweep import Found, sweep

_DEFAULT_LIMITS = Limits()
_FEW = 12  # references per neighbour; with more, the norms of those scored alone take less time


@torch.no_grad()
def nearest_references(
    query: Float[Tensor, "Q D"],
    reference: Float[Tensor, "R D"],
    *,
    k: int = 1,
    distance: Distance = "cosine",
    query_groups: Int64[Tensor, " Q"] | None = None,
    reference_groups: Int64[Tensor, " R"] | None = None,
    precision: Precision | Literal["auto"] = "auto",
    limits: Limits = _DEFAULT_LIMITS,
) -> Neighbors:
    """Find the k most similar references of every query, exactly.

    The ranking is by definition that of :func:`~.scoring.pair_similarity`, computed in float64 from
    the embeddings as given. Where similarities are equal, the lower index comes first. The result
    does not depend on device, threads or ``precision``: a product in low precision only rules out
    references that provably are not among the k nearest (:mod:`~.certificate` has the proof). A
    query for which too many are left is searched again in float32, then in float64.

    Args:
        query: embeddings of queries; float16, bfloat16, float32 or float64.
        reference: embeddings of references, of the same dtype and on the same device.
        k: number of neighbours.
        distance: ``"cosine"``, ``"inner_product"``, or ``"euclidean"``, for which the similarity is
            the negative squared distance.
        query_groups: no reference of a query's own group is a neighbour of it. A group can be, for
            example, a number that stands for identity and camera.
        reference_groups: given together with ``query_groups``.
        precision: what to search in first: ``"int8"``, ``"bfloat16"``, ``"float32"``,
            ``"float64"``, or ``"auto"`` for :func:`~.multiplication.fastest_precision`. A precision
            in which the device is less accurate than the proof assumes is skipped.
        limits: sizes of temporaries.

    Returns:
        The k nearest. Beyond the embeddings, the search holds O(Q (D + k) + R) numbers and a
        constant. It runs on the CPU for a device without float64 (MPS).

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
    if query_groups is not None and reference_groups is not None:
        query_groups = query_groups.to(query.device)
        reference_groups = reference_groups.to(query.device)
    with torch.autocast(query.device.type, enabled=False):
        norms = row_norms(query), row_norms(reference)
        check_norms(*norms, distance)
        exact = None
        if distance == "cosine" and len(reference) <= _FEW * k * len(query):
            exact = defined_norms(query), defined_norms(reference)
        problem = Problem(
            query, reference, *norms, exact, query_groups, reference_groups, k, distance
        )
        first = fastest_precision(query.device) if precision == "auto" else precision
        found = _search(problem, first, limits)
    return Neighbors(*(field.to(device) for field in found))


def _search(problem: Problem, first: Precision, limits: Limits) -> Neighbors:
    """Search in one precision after another until no query is left."""
    device, width = problem.query.device, problem.query.shape[1]
    nearest, _ = Found.nothing(problem)
    pending = torch.arange(len(problem.query), device=device)
    kept = torch.arange(len(problem.reference), device=device)
    for name in dict.fromkeys((first, "float32", "float64")):
        precision = getattr(torch, name)
        is_last = precision == torch.float64
        if not (is_last or multiplication_is_covered(device, precision, width)):
            continue
        frame = Frame.fit(problem, precision)
        found = sweep(problem.of(pending), frame, kept, limits, may_give_up=not is_last)
        nearest.similarity[pending], nearest.index[pending] = found.nearest
        pending = pending[found.given_up]
        if not len(pending):
            break
        if len(kept) == len(problem.reference):
            kept = first_copies(problem.reference, problem.reference_groups, problem.k)
    return nearest


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
