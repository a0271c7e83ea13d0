"""The search in one precision: blocks by maxima, then references in float32, then float64."""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

import torch
from torch import Tensor

from .bits import descending
from .blocks import Blocks, Maxima, find_maxima
from .certificate import Frame
from .multiplication import product_dtype
from .neighbors import Neighbors
from .pairs import rank_in_query, rank_pairs
from .refinement import Refinement
from .scoring import Distance, pair_similarity

_CHUNK = 2**20  # elements of a temporary
_MAXIMA_BYTES = 2**26  # of the table of block maxima
_GROUPS = 5  # of values for each of the k greatest
_SLOTS = 1024  # queries that are multiplied with a block at once


class _Pairs(NamedTuple):
    """Pairs [N] of a query and a reference, with their similarity."""

    query: Tensor
    reference: Tensor
    similarity: Tensor

    @classmethod
    def join(cls, parts: list["_Pairs"]) -> "_Pairs":
        return cls(*(torch.cat(fields) for fields in zip(*parts, strict=True)))

    def where(self, mask: Tensor) -> "_Pairs":
        return _Pairs(*(field[mask] for field in self))


class _Hits(NamedTuple):
    """Blocks [N] that may hold a neighbour of a query [N], in ascending order of block.

    ``upper`` is above the similarities in the block; ``first`` marks the query's k best
    blocks, or more where they tie.
    """

    block: Tensor
    query: Tensor
    upper: Tensor
    first: Tensor

    def where(self, mask: Tensor) -> "_Hits":
        return _Hits(*(field[mask] for field in self))


@dataclass
class Sweep:
    """The search for some queries.

    Similarities are those of the frame less the offset of :class:`Refinement`, but for those that
    the definition gives in the end.

    Attributes:
        query: embeddings [Q, D].
        reference: embeddings [R, D].
        norms: of the references [R].
        kept: the rows of ``reference`` to search, ascending; None for all.
        groups: of queries [Q] and references [R]; None for no mask.
        k: number of neighbours.
        distance: what to rank by.
        frame: coordinates of the products.
        slack: bounds A [Q], see :mod:`~.certificate`.
        budget: give queries up that have more candidates, if those are many in all; None for never.
    """

    query: Tensor
    reference: Tensor
    norms: Tensor
    kept: Tensor | None
    groups: tuple[Tensor, Tensor] | None
    k: int
    distance: Distance
    frame: Frame
    slack: Tensor
    budget: int | None

    def __post_init__(self) -> None:
        n = len(self.query)
        # below the k-th neighbour by twice the slack at least; infinity where a query is given up
        self._needed = self._twice_slack.new_full((n,), -torch.inf)
        self._found: list[_Pairs] = []
        self._nearest = Neighbors(
            self.query.new_full((n, self.k), -torch.inf, dtype=torch.float64),
            self.query.new_full((n, self.k), -1, dtype=torch.int64),
        )

    def run(self) -> tuple[Neighbors, Tensor]:
        """Return the neighbours, and a mask [Q] of queries that were given up."""
        itemsize = product_dtype(self.frame.precision).itemsize
        width = max(1, _MAXIMA_BYTES // (self._blocks.count * itemsize))
        for first in range(0, len(self.query), width):
            for hits in self._hits(slice(first, min(first + width, len(self.query)))):
                self._collect(hits.where(hits.first))
                self._raise_floor()
                self._collect(hits.where(~hits.first & (hits.upper >= self._needed[hits.query])))
        self._settle(final=True)
        return self._nearest, self._needed == torch.inf

    def gives_up_most(self) -> bool:
        """Whether blocks alone tell that most queries have too many candidates."""
        for _ in self._hits(slice(0, len(self.query))):
            pass
        return bool((self._needed == torch.inf).double().mean() > 0.5)

    @cached_property
    def _blocks(self) -> Blocks:
        total = len(self.reference if self.kept is None else self.kept)
        return Blocks.fit(total, queries=len(self.query), columns=self.query.shape[1], k=self.k)

    @cached_property
    def _coordinates(self) -> Tensor:
        return self.frame.coordinates(self.query)

    @cached_property
    def _refinement(self) -> Refinement:
        return Refinement(self.frame, self._coordinates)

    @cached_property
    def _twice_slack(self) -> Tensor:
        return 2 * self.slack.to(self.frame.arithmetic)

    def _hits(self, columns: slice) -> Iterator[_Hits]:
        """Yield the blocks whose upper bound reaches a query's k-th greatest lower bound."""
        queries = self.frame.queries(self._coordinates[columns])
        groups = self.groups and (self.groups[0][columns], self.groups[1])
        maxima = find_maxima(
            queries, self.reference, self.norms, self.kept, groups, self._blocks, self.frame
        )
        held: list[_Hits] = []
        width = max(1, _CHUNK // self._blocks.count)
        for first in range(columns.start, columns.stop, width):
            part = slice(first, min(first + width, columns.stop))
            some = slice(part.start - columns.start, part.stop - columns.start)
            held.append(self._select(maxima.of(some), part))
            if sum(len(hits.block) for hits in held) > _CHUNK:
                yield _sorted_by_block(held)
                held = []
        if held:
            yield _sorted_by_block(held)

    def _select(self, maxima: Maxima, part: slice) -> _Hits:
        """Find the hits of some queries, and give up those with too many if they are not few."""
        lower, upper = maxima.bounds()
        best = _kth_greatest(lower, self.k)
        needed = best - maxima.query_error - self._twice_slack[part]
        hit = upper >= needed - maxima.query_error
        block, query = hit.nonzero().unbind(1)
        if self.budget is not None:
            count = torch.bincount(query, minlength=len(best))
            many = count > 8 * self.k + self._blocks.count // 6
            if many.sum() > len(many) // 32:
                needed[many] = torch.inf
                kept = ~many[query]
                block, query = block[kept], query[kept]
        shift = self._refinement.offset[part]
        self._needed[part] = needed - shift
        above = upper[block, query] + (maxima.query_error - shift)[query]
        return _Hits(block, query + part.start, above, lower[block, query] >= best[query])

    def _collect(self, hits: _Hits) -> None:
        """Find the pairs in the blocks that may be among the k nearest."""
        if not len(hits.block):
            return
        blocks, counts = torch.unique_consecutive(hits.block, return_counts=True)
        starts = counts.cumsum(0) - counts
        order = counts.argsort()
        while len(order):
            slots = min(int(counts[order[-1]]), _SLOTS)
            columns, block = self.query.shape[1], self._blocks.size
            elements = max(block * columns, slots * columns, block * slots)
            size = max(1, _CHUNK // elements)
            order, some = order.tensor_split([max(0, len(order) - size)])
            self._found.append(self._refine(blocks[some], starts[some], counts[some], hits.query))
            self._settle()

    def _refine(self, block: Tensor, start: Tensor, count: Tensor, query: Tensor) -> _Pairs:
        """Multiply blocks with the queries that hit them.

        Args:
            block: the blocks [B].
            start: where each block's queries begin in ``query`` [B].
            count: how many they are [B].
            query: the queries that hit any block.

        Returns:
            The pairs that may be among the k nearest.
        """
        position, exists = self._blocks.members(block)
        rows = position if self.kept is None else self.kept[position]
        slots = min(int(count.max()), _SLOTS)
        if slots == _SLOTS:  # a block with more queries takes part in several products
            products = (count + slots - 1) // slots
            owner = torch.repeat_interleave(products)
            part = torch.arange(len(owner), device=owner.device)
            part -= (products.cumsum(0) - products)[owner]
            rows, exists = rows[owner], exists[owner]
            start, count = start[owner] + part * slots, count[owner] - part * slots
        slot = torch.arange(slots, device=query.device)
        column = query[(start[:, None] + slot).clamp_max_(len(query) - 1)]
        chosen = self.reference.index_select(0, rows.flatten()).view(*rows.shape, -1)
        similarity = self._refinement.similarities(chosen, self.norms[rows], column)
        needed = self._needed[column] - self._refinement.error
        needed.masked_fill_(slot >= count[:, None], torch.inf)
        product, place, slot = (similarity >= needed[:, None, :]).nonzero().unbind(1)
        query, reference = column[product, slot], rows[product, place]
        is_pair = exists[product, place]
        if self.groups is not None:
            is_pair &= self.groups[0][query] != self.groups[1][reference]
        return _Pairs(query, reference, similarity[product, place, slot]).where(is_pair)

    def _raise_floor(self) -> None:
        """Drop what the k best of the pairs found so far rule out."""
        if not self._found:
            return
        pairs = _Pairs.join(self._found)
        order = torch.arange(len(pairs.query), device=pairs.query.device)
        if self.k > 1:
            order, rank = rank_in_query(pairs.query, descending(pairs.similarity).argsort())
            order = order[rank == self.k - 1]
        query = pairs.query[order]
        lower = pairs.similarity[order] - self._refinement.error - self._twice_slack[query]
        self._needed.scatter_reduce_(0, query, lower, "amax")
        upper = pairs.similarity + self._refinement.error
        self._found = [pairs.where(upper >= self._needed[pairs.query])]

    def _settle(self, *, final: bool = False) -> None:
        """Drop what was ruled out since; score what is left when it is final or too much."""
        held = sum(len(pairs.query) for pairs in self._found)
        if not held or (held <= _CHUNK and not final):
            return
        self._raise_floor()
        (pairs,) = self._found
        if self.budget is not None:
            count = torch.bincount(pairs.query, minlength=len(self.query))
            many = count > self.budget
            if count[many].sum() > len(self.reference):
                self._needed[many] = torch.inf
                pairs = pairs.where(~many[pairs.query])
        self._found = []
        self._nearest = self._merge(pairs)

    def _merge(self, pairs: _Pairs) -> Neighbors:
        """Score pairs and rank them together with the neighbours found before."""
        similarity = pair_similarity(
            self.query, self.reference, pairs.query, pairs.reference, distance=self.distance
        )
        pairs = pairs._replace(similarity=similarity)
        query, place = (self._nearest.index >= 0).nonzero().unbind(1)
        if len(query):
            similarity = self._nearest.similarity[query, place]
            before = _Pairs(query, self._nearest.index[query, place], similarity)
            pairs = _Pairs.join([before, pairs])
        order, rank = rank_pairs(pairs.query, pairs.similarity, pairs.reference)
        order, rank = order[rank < self.k], rank[rank < self.k]
        query = pairs.query[order]
        nearest = Neighbors(*(torch.full_like(field, -1) for field in self._nearest))
        nearest.similarity.fill_(-torch.inf)
        nearest.similarity[query, rank] = pairs.similarity[order]
        nearest.index[query, rank] = pairs.reference[order]
        return nearest


def _kth_greatest(values: Tensor, k: int) -> Tensor:
    """At most the k-th greatest of each column [N, Q]; minus infinity where there are fewer.

    Of many values, it is the k-th greatest maximum of groups, the same unless two of the k greatest
    fall into one group.
    """
    if k == 1:
        return values.amax(dim=0)
    if k > len(values):
        return values.new_full((values.shape[1],), -torch.inf)
    if size := len(values) // (_GROUPS * k):
        whole = len(values) // size * size
        values = values[:whole].view(size, -1, values.shape[1]).amax(dim=0)
    return values.T.contiguous().topk(k, dim=1, sorted=False).values.amin(dim=1)


def _sorted_by_block(parts: list[_Hits]) -> _Hits:
    hits = _Hits(*(torch.cat(fields) for fields in zip(*parts, strict=True)))
    return hits if len(parts) == 1 else hits.where(hits.block.argsort())
