"""Exact search for the nearest reference embedding."""

from typing import Literal, NamedTuple, get_args

import torch
from torch import Tensor

Distance = Literal["cosine", "euclidean"]

_QUERIES_PER_TILE = 512
_REFERENCES_PER_TILE = 4096


class Neighbors(NamedTuple):
    """The nearest references of every query, best first.

    Attributes:
        similarity: float64 tensor [Q, k].
        index: int64 tensor [Q, k] of positions in the reference set.
    """

    similarity: Tensor
    index: Tensor  # type: ignore[assignment]  # shadows tuple.index


def nearest_references(
    query: Tensor,
    reference: Tensor,
    *,
    distance: Distance = "cosine",
    query_groups: Tensor | None = None,
    reference_groups: Tensor | None = None,
) -> Neighbors:
    """Find the reference with the greatest float64 similarity to each query.

    The similarity is the cosine, or the negative squared euclidean distance. A float64 matrix
    multiplication, whose rounding depends on the shape of its operands, only nominates: every
    reference within its error bound of a query's best is scored again in one fixed order of
    summation, so that equal embeddings tie exactly and the lowest index wins.

    Args:
        query: floating tensor [Q, D].
        reference: floating tensor [R, D] with R >= 1.
        distance: "cosine" or "euclidean".
        query_groups: int64 tensor [Q]; a query is not compared with references of its group.
        reference_groups: int64 tensor [R], given with `query_groups`.

    Returns:
        Neighbors with k = 1; similarity -inf and index -1 where all references are of the group.

    Raises:
        ValueError: if a shape, the dtype or `distance` is not as above.

    Example:
        >>> reference = torch.tensor([[1.0, 0.0], [0.0, 1.0]])
        >>> nearest_references(torch.tensor([[0.1, 2.0]]), reference).index
        tensor([[1]])
    """
    _check_inputs(query, reference, distance)
    if query_groups is None or reference_groups is None:
        query_groups = torch.full((len(query),), -1, device=query.device)
        reference_groups = torch.full((len(reference),), -2, device=query.device)
    tiles = zip(query.split(_QUERIES_PER_TILE), query_groups.split(_QUERIES_PER_TILE), strict=True)
    rows = [
        _search_tile(tile, groups, reference, reference_groups, distance) for tile, groups in tiles
    ]
    return Neighbors(*(torch.cat(column) for column in zip(*rows, strict=True)))


def merge_neighbors(first: Neighbors, second: Neighbors) -> Neighbors:
    """Keep each query's k best of two disjoint sets of references.

    Args:
        first: neighbours [Q, k] among some references.
        second: neighbours [Q, k] among others, indices in the same numbering.

    Returns:
        Neighbors [Q, k], greatest similarity first, the lower index first on a tie.
    """
    similarity = torch.cat([first.similarity, second.similarity], dim=1)
    index = torch.cat([first.index, second.index], dim=1)
    order = index.argsort(dim=1)
    by_similarity = similarity.gather(1, order).argsort(dim=1, descending=True, stable=True)
    best = order.gather(1, by_similarity)[:, : first.index.shape[1]]
    return Neighbors(similarity.gather(1, best), index.gather(1, best))


def _check_inputs(query: Tensor, reference: Tensor, distance: str) -> None:
    for name, value in (("query", query), ("reference", reference)):
        if value.ndim != 2:
            raise ValueError(f"`{name}` should have shape [N, D], got {list(value.shape)}")
        if not value.is_floating_point():
            raise ValueError(f"`{name}` should be of a floating dtype, got {value.dtype}")
    if len(reference) == 0:
        raise ValueError("`reference` should hold at least one embedding, got none")
    if query.shape[1] != reference.shape[1]:
        raise ValueError(
            "`query` and `reference` should have the same width, "
            f"got {query.shape[1]} and {reference.shape[1]}"
        )
    if distance not in get_args(Distance):
        raise ValueError(f"`distance` should be one of {get_args(Distance)}, got {distance!r}")


def _search_tile(
    query: Tensor, groups: Tensor, reference: Tensor, reference_groups: Tensor, distance: Distance
) -> Neighbors:
    best: Neighbors | None = None
    for start in range(0, len(reference), _REFERENCES_PER_TILE):
        tile = reference[start : start + _REFERENCES_PER_TILE]
        same = groups.unsqueeze(1) == reference_groups[start : start + _REFERENCES_PER_TILE]
        row, column = _candidates(query.double(), tile.double(), same, distance)
        similarity = _similarity(query[row].double(), tile[column].double(), distance)
        found = _best_per_row(row, column + start, similarity, len(query))
        best = found if best is None else merge_neighbors(best, found)
    assert best is not None
    return best


def _candidates(
    query: Tensor, reference: Tensor, excluded: Tensor, distance: Distance
) -> tuple[Tensor, Tensor]:
    query_norm, reference_norm = query.norm(dim=1, keepdim=True), reference.norm(dim=1)
    if distance == "cosine":
        approximate = (query / query_norm) @ (reference / reference_norm.unsqueeze(1)).T
        magnitude = torch.ones_like(query_norm)
    else:
        approximate = 2 * (query @ reference.T) - reference_norm.square()
        magnitude = (query_norm + reference_norm.max()).square()
    approximate[excluded] = -torch.inf
    # Twice the classic bound n * eps on a sum of n products, with room for the other roundings.
    slack = 4 * (query.shape[1] + 8) * torch.finfo(torch.float64).eps * magnitude
    near_best = approximate >= approximate.amax(dim=1, keepdim=True) - slack
    row, column = torch.nonzero(near_best & ~excluded, as_tuple=True)
    return row, column


def _similarity(query: Tensor, reference: Tensor, distance: Distance) -> Tensor:
    if distance == "euclidean":
        return -_sum_in_halves((query - reference).square())
    norms = _sum_in_halves(query.square()).sqrt() * _sum_in_halves(reference.square()).sqrt()
    return _sum_in_halves(query * reference) / norms


def _sum_in_halves(terms: Tensor) -> Tensor:
    """Sum the last dimension by adding its halves, the same order on every device."""
    while terms.shape[-1] > 1:
        half = (terms.shape[-1] + 1) // 2
        upper = terms[..., half:]
        terms = torch.cat(
            [terms[..., : upper.shape[-1]] + upper, terms[..., upper.shape[-1] : half]], dim=-1
        )
    return terms.squeeze(-1)


def _best_per_row(row: Tensor, index: Tensor, similarity: Tensor, rows: int) -> Neighbors:
    best = similarity.new_full((rows,), -torch.inf).scatter_reduce(0, row, similarity, "amax")
    is_best = similarity == best[row]
    lowest = index.new_full((rows,), torch.iinfo(torch.int64).max)
    lowest = lowest.scatter_reduce(0, row[is_best], index[is_best], "amin")
    lowest[best == -torch.inf] = -1
    return Neighbors(best.unsqueeze(1), lowest.unsqueeze(1))
