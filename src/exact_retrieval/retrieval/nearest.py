"""The nearest references of every query, over sets that are spread over processes.

Every process searches its own references for the nearest to each query, and the winners of all
processes are compared by similarity and index. So the result is that of one process that holds
everything, bit for bit.
"""

from collections.abc import Sequence
from typing import NamedTuple

import torch
from jaxtyping import Bool, Int64
from torch import Tensor

from ..search.nearest import nearest_references
from ..search.neighbors import Neighbors, merge_neighbors
from ..search.scoring import Distance
from .processes import Processes
from .spread_sets import Samples, SpreadSets

_NONE = -1


class Winners(NamedTuple):
    """The nearest of some references to each query, and who is in them.

    Attributes:
        neighbors: by the indices of the references.
        label: of the references, -1 where fewer than k are allowed.
    """

    neighbors: Neighbors
    label: Int64[Tensor, "Q k"]

    @classmethod
    def nothing(cls, queries: int, k: int, device: torch.device) -> "Winners":
        """Return what is known before the first reference."""
        neighbors = Neighbors.nothing(queries, k, device)
        return cls(neighbors, torch.full_like(neighbors.index, _NONE))

    @classmethod
    def among(cls, reference: Samples, found: Neighbors) -> "Winners":
        """Name the references that were found by their rows."""
        row, is_found = found.index.clamp(min=0), found.index >= 0
        index, label = (of[row].where(is_found, _NONE) for of in (reference.index, reference.label))
        return cls(found._replace(index=index), label)

    def merge(self, other: "Winners") -> "Winners":
        """Keep each query's k nearest of these and of others among other references."""
        neighbors, order = merge_neighbors(self.neighbors, other.neighbors)
        return Winners(neighbors, torch.cat([self.label, other.label], dim=1).gather(1, order))

    def of_all(self, processes: Processes) -> "Winners":
        """Merge the winners of all processes."""
        bits = self.neighbors.similarity.view(torch.int64)
        columns = torch.stack([bits, self.neighbors.index, self.label])
        best, *others = (
            Winners(Neighbors(bits.view(torch.float64), index), label)
            for bits, index, label in processes.stack(columns)
        )
        for other in others:
            best = best.merge(other)
        return best


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

    @classmethod
    def of(cls, sets: SpreadSets, winners: Sequence[Winners]) -> "NearestReferences":
        """Put the winners of consecutive blocks of queries together."""
        neighbors, label = zip(*winners, strict=True)
        order = sets.query_index.argsort()
        similarity, index = (torch.cat(field)[order] for field in zip(*neighbors, strict=True))
        return cls(sets.query_label[order], similarity, index, torch.cat(label)[order])

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
    leave_one_out: bool = False,
) -> NearestReferences:
    """Find the nearest of all processes' references for all processes' queries.

    Args:
        sets: queries and references.
        distance: what to rank by.
        k: number of neighbours.
        leave_one_out: whether the reference with a query's index is the query itself.

    Returns:
        The same tensors on every process.

    Raises:
        ValueError: on every process, for embeddings that have no similarity.
    """
    winners = []
    for query in sets.queries():
        local = sets.processes.attempt(
            lambda query=query: _search(query, sets, distance, k, leave_one_out)  # type: ignore[misc]
        )
        winners.append(local.of_all(sets.processes))
    return NearestReferences.of(sets, winners)


def _search(
    query: Samples, sets: SpreadSets, distance: Distance, k: int, leave_one_out: bool
) -> Winners:
    """Search this process's references."""
    best = Winners.nothing(len(query.index), k, query.index.device)
    for reference in sets.references():
        found = nearest_references(
            query.embedding,
            reference.embedding,
            k=k,
            distance=distance,
            query_groups=query.index if leave_one_out else None,
            reference_groups=reference.index if leave_one_out else None,
        )
        best = best.merge(Winners.among(reference, found))
        del reference  # before the next block is made
    return best
