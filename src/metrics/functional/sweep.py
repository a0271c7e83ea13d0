"""One pass over the references in one precision: candidates, then their float64 scores."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from src.metrics.functional.certificate import Frame, output_roundoff
from src.metrics.functional.neighbors import Neighbors
from src.metrics.functional.scoring import Distance, pair_similarity

_INTEGER = {2: torch.int16, 4: torch.int32, 8: torch.int64}
_BLOCK = 64  # references that share a maximum
_LOWEST = -(2.0**100)  # below every product, above the minus infinity of pairs that are masked
_CHUNK = 2**20  # elements of a temporary
_TILE = 2**23  # bytes of a product on a CPU: it stays in the caches until it is reduced
_TILE_GPU = 2**27  # enough to fill the device


class _Pairs(NamedTuple):
    """Pairs [N] of a query and a reference, with an upper bound or the similarity itself."""

    query: Tensor
    reference: Tensor
    score: Tensor

    @classmethod
    def join(cls, parts: list["_Pairs"]) -> "_Pairs":
        return cls(*(torch.cat(fields) for fields in zip(*parts, strict=True)))

    def where(self, mask: Tensor) -> "_Pairs":
        kept = mask.nonzero()[:, 0]
        return _Pairs(*(field.index_select(0, kept) for field in self))


@dataclass
class Sweep:
    """The search for some queries.

    Attributes:
        query: embeddings [Q, D].
        reference: embeddings [R, D].
        kept: the rows of ``reference`` to search, ascending; None for all.
        groups: of queries [Q] and references [R]; None for no mask.
        k: number of neighbours.
        distance: what to rank by.
        frame: coordinates of the products.
        slack: bounds A [Q], see :mod:`~src.metrics.functional.certificate`.
        budget: give a query up when it has more candidates; None for never.
    """

    query: Tensor
    reference: Tensor
    kept: Tensor | None
    groups: tuple[Tensor, Tensor] | None
    k: int
    distance: Distance
    frame: Frame
    slack: Tensor
    budget: int | None

    def run(self) -> tuple[Neighbors, Tensor]:
        """Return the neighbours, and a mask [Q] of queries that were given up."""
        self._begin()
        total = len(self.reference if self.kept is None else self.kept)
        height = _round_up(
            min(total, max(_BLOCK, min(4096, _CHUNK // self._rows.shape[1]))), _BLOCK
        )
        tile_bytes = _TILE if self.query.device.type == "cpu" else _TILE_GPU
        itemsize = self._rows.element_size()
        buffer = self._rows.new_empty(max(height, tile_bytes // itemsize))
        for start in range(0, total, height):
            member = (
                slice(start, start + height)
                if self.kept is None
                else self.kept[start : start + height]
            )
            self._search_tile(start, member, buffer)
            if self.budget is not None and 2 * int(self._given_up().sum()) > len(self.query):
                return self._nearest, torch.ones_like(self._given_up())
        self._settle(final=True)
        return self._nearest, self._given_up()

    def _begin(self) -> None:
        n = len(self.query)
        self._rows, self._query_error = self.frame.queries(self.query)
        arithmetic = torch.promote_types(self.frame.precision, torch.float32)
        self._slack = 2 * self.slack.to(arithmetic)
        # k greatest lower bounds, each of another reference; infinity where a query is given up
        self._floor = self._slack.new_full((self.k, n), -torch.inf)
        self._count = torch.zeros(n, dtype=torch.int64, device=self.query.device)
        self._nearest = Neighbors(
            self.query.new_full((n, self.k), -torch.inf, dtype=torch.float64),
            self.query.new_full((n, self.k), -1, dtype=torch.int64),
        )
        self._found: list[_Pairs] = []
        self._held, self._limit = 0, _CHUNK
        self._block = _BLOCK
        while self._block > 1 and len(self.reference) < 16 * self.k * self._block:
            self._block //= 2

    def _given_up(self) -> Tensor:
        return self._floor[0] == torch.inf

    def _search_tile(self, start: int, member: slice | Tensor, buffer: Tensor) -> None:
        """Multiply some references with all queries and collect the candidates."""
        rows, error = self.frame.references(self.reference[member], self._query_error)
        height = _round_up(len(rows), self._block)
        margin = error.max().to(self._floor.dtype)
        width = max(1, buffer.numel() // height)
        for first in range(0, len(self.query), width):
            columns = slice(first, min(first + width, len(self.query)))
            count = columns.stop - first
            product = buffer[: height * count].view(height, count)
            torch.mm(rows, self._rows[columns].T, out=product[: len(rows)])
            product[len(rows) :] = -torch.inf
            if self.groups is not None:
                _exclude(product, self.groups[0][columns], self.groups[1][member])
            for query, row, upper in self._candidates(product, margin, columns):
                reference = row + start if self.kept is None else self.kept[row + start]
                self._found.append(_Pairs(query, reference, upper))
                self._held += len(query)
            if self._held > self._limit:
                self._settle()

    def _candidates(
        self, product: Tensor, margin: Tensor, columns: slice
    ) -> Iterator[tuple[Tensor, Tensor, Tensor]]:
        """Yield the pairs whose upper bound reaches the k-th greatest lower bound.

        Rows h, h + S, h + 2 S, ... of the product share a maximum, as neighbouring references tend
        to be of one class and would hide one another. The maximum is taken of the bits as
        integers, several times faster than of bfloat16. Negative floats are in reverse order as
        integers: the maximum of a block without a positive number is one of its numbers, hence a
        lower bound, and zero is the upper bound.
        """
        blocks = product.view(self._block, -1, product.shape[1])
        greatest = blocks.view(_INTEGER[product.element_size()]).amax(dim=0)
        leaders = greatest.amax(dim=0, keepdim=True) if self.k == 1 else greatest
        leaders = leaders.view(product.dtype).to(self._floor.dtype).clamp_min_(_LOWEST)
        floor, count, slack = self._floor[:, columns], self._count[columns], self._slack[columns]
        roundoff = output_roundoff(product.dtype)
        floor.copy_(_greatest(floor, leaders - roundoff * leaders.abs() - margin))
        needed = floor[-1] - slack - margin  # p + w |p| must reach this
        needed = needed / torch.where(needed > 0, 1 + roundoff, 1 - roundoff)
        hit = (greatest.view(product.dtype).clamp_min_(0) >= needed).nonzero()
        for block, query in (part.unbind(1) for part in torch.split(hit, _CHUNK // self._block)):
            if self.budget is not None:
                count += torch.bincount(query, minlength=len(count))
                floor[:, count > self.budget] = torch.inf
                alive = count[query] <= self.budget
                block, query = block[alive], query[alive]
            values = blocks.flatten(1).index_select(1, block * product.shape[1] + query)
            member, pair = (values >= needed.index_select(0, query).clamp_min_(_LOWEST)).nonzero().T
            block, query = block.index_select(0, pair), query.index_select(0, pair)
            value = values[member, pair].to(needed.dtype)
            upper = value + roundoff * value.abs() + margin
            yield query + columns.start, member * blocks.shape[1] + block, upper

    def _settle(self, *, final: bool = False) -> None:
        """Drop what later references ruled out; score what is left when it is final or too much."""
        if not self._found:
            return
        pairs = _Pairs.join(self._found)
        pairs = pairs.where(
            pairs.score >= (self._floor[-1] - self._slack).index_select(0, pairs.query)
        )
        if self.budget is not None and final:
            count = torch.bincount(pairs.query, minlength=len(self.query))
            self._floor[:, count > self.budget] = torch.inf
            pairs = pairs.where((count <= self.budget)[pairs.query])
        self._found, self._held, self._limit = (
            [pairs],
            len(pairs.query),
            max(_CHUNK, 2 * len(pairs.query)),
        )
        if final or (self.budget is None and self._held > _CHUNK // 2):
            self._found, self._held, self._limit = [], 0, _CHUNK
            self._nearest = _merge(self._nearest, self._score(pairs))

    def _score(self, pairs: _Pairs) -> _Pairs:
        """Replace bounds by similarities, leaving out pairs that a bound in float32 rules out."""
        if (
            len(pairs.query) > 2 * self.k * len(self.query)
            and self.frame.centre.dtype == torch.float32
        ):
            pairs = self._refine(pairs)
        score = pair_similarity(
            self.query, self.reference, pairs.query, pairs.reference, distance=self.distance
        )
        return pairs._replace(score=score)

    def _refine(self, pairs: _Pairs) -> _Pairs:
        """Keep the pairs that may be among the k nearest by their similarity in float32."""
        size = max(1, _CHUNK // 4 // self.query.shape[1])
        parts = zip(torch.split(pairs.query, size), torch.split(pairs.reference, size), strict=True)
        values, bounds = zip(
            *(
                self.frame.pair_bounds(
                    self.query.index_select(0, q), self.reference.index_select(0, r)
                )
                for q, r in parts
            ),
            strict=True,
        )
        value, bound = torch.cat(values), torch.cat(bounds)
        order, rank = _rank(pairs._replace(score=value - bound))
        last = order[rank == self.k - 1]
        floor = value.new_full((len(self.query),), -torch.inf)
        floor[pairs.query[last]] = (value - bound)[last]
        return pairs.where(value + bound >= floor[pairs.query])


def _greatest(floor: Tensor, lower: Tensor) -> Tensor:
    """Merge bounds [k, n] and [S, n] into the k greatest per column, descending."""
    if len(floor) == 1:
        return torch.maximum(floor, lower.amax(dim=0, keepdim=True))
    return torch.cat((floor, lower)).topk(len(floor), dim=0).values


def _exclude(product: Tensor, query_groups: Tensor, reference_groups: Tensor) -> None:
    """Set the entries [R, Q] of equal groups to minus infinity."""
    groups, order = query_groups.sort()
    first = torch.searchsorted(groups, reference_groups)
    repeats = torch.searchsorted(groups, reference_groups, right=True) - first
    total = int(repeats.sum())
    if total > product.numel() // 16:
        product[: len(repeats)].masked_fill_(reference_groups[:, None] == query_groups, -torch.inf)
    elif total:
        row = torch.repeat_interleave(repeats)
        offset = torch.arange(total, device=row.device) - (repeats.cumsum(0) - repeats)[row]
        product[row, order[first[row] + offset]] = -torch.inf


def _merge(nearest: Neighbors, pairs: _Pairs) -> Neighbors:
    """Rank the neighbours found so far [Q, k] together with scored pairs."""
    query, column = (nearest.index >= 0).nonzero().T
    held = _Pairs(query, nearest.index[query, column], nearest.similarity[query, column])
    pairs = _Pairs.join([held, pairs])
    order, rank = _rank(pairs)
    order, rank = order[rank < nearest.index.shape[1]], rank[rank < nearest.index.shape[1]]
    query, reference, similarity = (field[order] for field in pairs)
    merged = Neighbors(
        torch.full_like(nearest.similarity, -torch.inf), torch.full_like(nearest.index, -1)
    )
    merged.similarity[query, rank] = similarity
    merged.index[query, rank] = reference
    return merged


def _rank(pairs: _Pairs) -> tuple[Tensor, Tensor]:
    """Sort by query, score descending, reference; return the order and the ranks within a query."""
    order = pairs.reference.argsort()
    order = order[pairs.score[order].argsort(descending=True, stable=True)]
    order = order[pairs.query[order].argsort(stable=True)]
    query, position = pairs.query[order], torch.arange(len(order), device=order.device)
    return order, position - torch.searchsorted(query, query)


def _round_up(size: int, multiple: int) -> int:
    return -(-size // multiple) * multiple
