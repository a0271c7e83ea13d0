"""Ranks of the matches of every query: the references of its own identity."""

from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float64, Int64
from torch import Tensor


@dataclass(frozen=True)
class MatchRanks:
    r"""The ranks of all matches, query by query, ascending for one query.

    Let a query's m matches have the ranks :math:`\rho_1 < \dots < \rho_m`.

    Attributes:
        count: m of each query.
        rank: from 1, of all N matches.
    """

    count: Int64[Tensor, " Q"]
    rank: Int64[Tensor, " N"]

    @property
    def query(self) -> Int64[Tensor, " N"]:
        """The query of each match, as its position."""
        return torch.repeat_interleave(self.count)

    @property
    def first(self) -> Int64[Tensor, " Q"]:
        r""":math:`\rho_1`; 0 for a query without a match."""
        return self._pick(self.count.cumsum(0) - self.count)

    @property
    def last(self) -> Int64[Tensor, " Q"]:
        r""":math:`\rho_m`; 0 for a query without a match."""
        return self._pick(self.count.cumsum(0) - 1)

    @property
    def average_precision(self) -> Float64[Tensor, " Q"]:
        r""":math:`\frac1m \sum_{i=1}^m i / \rho_i`; NaN for a query without a match."""
        query = self.query
        total = torch.zeros_like(self.count, dtype=torch.float64)
        total.scatter_add_(0, query, (place_in_query(self.count) + 1) / self.rank.double())
        return total / self.count

    def without(self, left_out: Bool[Tensor, " N"]) -> "MatchRanks":
        """Rank again after some matches have been removed from the references."""
        query, removed = self.query, left_out.cumsum(0)
        start = (self.count.cumsum(0) - self.count)[query]
        removed -= torch.cat([removed.new_zeros(1), removed])[start]
        kept = ~left_out
        count = torch.bincount(query[kept], minlength=len(self.count))
        return MatchRanks(count, (self.rank - removed)[kept])

    def _pick(self, position: Tensor) -> Tensor:
        has_match = self.count > 0
        picked = torch.zeros_like(self.count)
        picked[has_match] = self.rank[position[has_match]]
        return picked


def place_in_query(count: Int64[Tensor, " Q"]) -> Int64[Tensor, " N"]:
    """Number the members of each query, one query after another, from 0.

    Example:
        >>> place_in_query(torch.tensor([2, 0, 3]))
        tensor([0, 1, 0, 1, 2])
    """
    before = torch.repeat_interleave(count.cumsum(0) - count, count)
    return torch.arange(len(before), device=count.device) - before
