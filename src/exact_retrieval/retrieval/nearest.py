"""The nearest references of every query, over sets that are spread over processes.

Every process searches its own references for the nearest to each query, and the winners of all
processes are compared by similarity and index. So the result is that of one process that holds
everything, bit for bit.
"""

from typing import Literal, NamedTuple

import torch
from jaxtyping import Bool
from torch import Tensor

from ..search.nearest import nearest_references
from ..search.neighbors import Neighbors, merge_neighbors
from ..search.scoring import Distance
from .processes import Processes
from .spread_sets import Samples, SpreadSets

_NONE = -1


class NearestReferences(NamedTuple):
    """The k nearest references of each query, the queries in ascending order of index.

    Attributes:
        query_label: int64 [Q].
        similarity: float64 [Q, k], descending; `-inf` where fewer than k references are allowed.
        index: int64 [Q, k] of the references, -1 where fewer are allowed.
        label: int64 [Q, k] of the references, -1 where fewer are allowed.
    """

    query_label: Tensor
    similarity: Tensor
    index: Tensor  # type: ignore[assignment]  # the field hides tuple.index
    label: Tensor

    @property
    def is_right(self) -> Bool[Tensor, " Q"]:
        """Tell whether the nearest reference has the query's identity."""
        return (self.label[:, 0] == self.query_label) & (self.index[:, 0] >= 0)


@torch.no_grad()
def find_nearest(
    sets: SpreadSets,
    *,
    distance: Distance,
    k: int = 1,
    without: Literal["index", "label"] | None = None,
) -> NearestReferences:
    """Find the nearest of all processes' references for all processes' queries.

    Args:
        sets: queries and references.
        distance: what to rank by.
        k: number of neighbours.
        without: leave out references that have this in common with the query.

    Returns:
        The same tensors on every process.

    Raises:
        ValueError: on every process, for embeddings that have no similarity.
    """
    winners = []
    for query in sets.queries():
        local = sets.processes.attempt(
            lambda query=query: _search(query, sets, distance, k, without)  # type: ignore[misc]
        )
        winners.append(_best_of_all(*local, sets.processes))
    order = sets.query_index.argsort()
    columns = (torch.cat(column)[order] for column in zip(*winners, strict=True))
    return NearestReferences(sets.query_label[order], *columns)


def _search(
    query: Samples,
    sets: SpreadSets,
    distance: Distance,
    k: int,
    without: Literal["index", "label"] | None,
) -> tuple[Neighbors, Tensor]:
    """Search this process's references; return neighbours and their labels [Q, k]."""
    shape, device = (len(query.index), k), query.index.device
    best = Neighbors(
        torch.full(shape, -torch.inf, dtype=torch.float64, device=device),
        torch.full(shape, _NONE, device=device),
    )
    label = torch.full(shape, _NONE, device=device)
    for reference in sets.references():
        found = nearest_references(
            query.embedding,
            reference.embedding,
            k=k,
            distance=distance,
            query_groups=getattr(query, without) if without else None,
            reference_groups=getattr(reference, without) if without else None,
        )
        row, is_found = found.index.clamp(min=0), found.index >= 0
        index = reference.index[row].where(is_found, _NONE)
        found_label = reference.label[row].where(is_found, _NONE)
        best, order = merge_neighbors(best, found._replace(index=index))
        label = torch.cat([label, found_label], dim=1).gather(1, order)
        del reference  # before the next block is made
    return best, label


def _best_of_all(
    found: Neighbors, label: Tensor, processes: Processes
) -> tuple[Tensor, Tensor, Tensor]:
    """Similarity, index and label [B, k] of the best among all processes' winners."""
    columns = torch.stack([found.similarity.view(torch.int64), found.index, label])
    first, *others = processes.stack(columns).unbind()
    best, label = Neighbors(first[0].view(torch.float64), first[1]), first[2]
    for other in others:
        candidates = Neighbors(other[0].view(torch.float64), other[1])
        best, order = merge_neighbors(best, candidates)
        label = torch.cat([label, other[2]], dim=1).gather(1, order)
    return best.similarity, best.index, label
