"""Ranks of the matches of every query: the references of its own identity."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from jaxtyping import Bool, Float64, Int64
from torch import Tensor

from ..search.pairs import join_ranges, place_in_query


@dataclass(frozen=True)
class MatchRanks:
    r"""The ranks of all matches, query by query, ascending for one query.

    Let a query's m matches have the ranks :math:`\rho_1 < \dots < \rho_m`.

    Attributes:
        count: m of each query.
        rank: from 1, of all N matches.
        similarity: likewise.
        is_own_camera: whether the query's own camera took the match.
    """

    count: Int64[Tensor, " Q"]
    rank: Int64[Tensor, " N"]
    similarity: Float64[Tensor, " N"]
    is_own_camera: Bool[Tensor, " N"]

    @classmethod
    def join(cls, parts: Sequence["MatchRanks"]) -> "MatchRanks":
        """Put queries one after another."""
        columns = ((part.count, *part._of_matches()) for part in parts)
        return cls(*(torch.cat(column) for column in zip(*columns, strict=True)))

    def reordered(self, order: Int64[Tensor, " Q"]) -> "MatchRanks":
        """Take the queries in another order, a permutation."""
        if (order.diff() > 0).all():  # they are in it already, and a copy may be large
            return self
        count = self.count[order]
        start = (self.count.cumsum(0) - self.count)[order]
        return self._take(count, join_ranges(start, count))

    @property
    def query(self) -> Int64[Tensor, " N"]:
        """Return the query of each match, as its position."""
        return torch.repeat_interleave(self.count)

    @property
    def first(self) -> Int64[Tensor, " Q"]:
        r"""Return :math:`\rho_1`; 0 for a query without a match."""
        return self._pick(self.rank, self.count.cumsum(0) - self.count, missing=0)

    @property
    def last(self) -> Int64[Tensor, " Q"]:
        r"""Return :math:`\rho_m`; 0 for a query without a match."""
        return self._pick(self.rank, self.count.cumsum(0) - 1, missing=0)

    @property
    def greatest_similarity(self) -> Float64[Tensor, " Q"]:
        """Return the similarity of the first match; NaN for a query without a match."""
        start = self.count.cumsum(0) - self.count
        return self._pick(self.similarity, start, missing=torch.nan)

    @property
    def average_precision(self) -> Float64[Tensor, " Q"]:
        r"""Return :math:`\frac1m \sum_{i=1}^m i / \rho_i`; NaN for a query without a match."""
        return self.average(self._precision)

    @property
    def r_precision(self) -> Float64[Tensor, " Q"]:
        r"""Return :math:`\frac1m \#\{i : \rho_i \le m\}`; NaN for a query without a match."""
        return self.average(self._is_within_count.double())

    @property
    def average_precision_at_r(self) -> Float64[Tensor, " Q"]:
        r"""Return :math:`\frac1m \sum_{i : \rho_i \le m} i / \rho_i`; NaN without a match."""
        return self.average(self._precision.where(self._is_within_count, 0))

    def average(self, values: Float64[Tensor, " N"]) -> Float64[Tensor, " Q"]:
        """Average values of matches over those of each query; NaN for a query without a match."""
        total = torch.zeros_like(self.count, dtype=torch.float64)
        return total.scatter_add_(0, self.query, values) / self.count

    def without(self, left_out: Bool[Tensor, " N"]) -> "MatchRanks":
        """Rank again after some matches have been removed from the references."""
        query, removed = self.query, left_out.cumsum(0)
        start = (self.count.cumsum(0) - self.count)[query]
        removed -= torch.cat([removed.new_zeros(1), removed])[start]
        kept = (~left_out).nonzero()[:, 0]
        count = torch.bincount(query[kept], minlength=len(self.count))
        return replace(self, rank=self.rank - removed)._take(count, kept)

    @property
    def _precision(self) -> Tensor:
        r"""The share of matches among the references up to each match, :math:`i / \rho_i`."""
        return (place_in_query(self.count) + 1) / self.rank.double()

    @property
    def _is_within_count(self) -> Tensor:
        r"""Whether :math:`\rho_i \le m`, for each match."""
        return self.rank <= self.count.repeat_interleave(self.count)

    def _of_matches(self) -> tuple[Tensor, Tensor, Tensor]:
        return self.rank, self.similarity, self.is_own_camera

    def _take(self, count: Tensor, rows: Tensor) -> "MatchRanks":
        return MatchRanks(count, *(column.index_select(0, rows) for column in self._of_matches()))

    def _pick(self, column: Tensor, position: Tensor, *, missing: float) -> Tensor:
        """Pick a value of one match of each query [Q]."""
        has_match = self.count > 0
        picked = column.new_full(self.count.shape, missing)
        picked[has_match] = column[position[has_match]]
        return picked
