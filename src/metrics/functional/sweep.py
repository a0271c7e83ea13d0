"""The search in one precision: blocks by maxima, then references in float32, then float64."""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

import torch
from torch import Tensor

from src.metrics.functional.bits import as_integers, descending
from src.metrics.functional.certificate import Frame, output_roundoff
from src.metrics.functional.neighbors import Neighbors
from src.metrics.functional.pairs import rank_in_query, rank_pairs
from src.metrics.functional.scoring import Distance, pair_similarity

_BLOCK = 64  # references that share a maximum
_TILE_ROWS = 4096  # references that are multiplied at once
_TILE_BYTES = 2**23  # of a product on a CPU: it stays in the caches until it is reduced
_TILE_BYTES_GPU = 2**27  # enough to fill the device
_CHUNK = 2**20  # elements of a temporary
_MAXIMA_BYTES = 2**25  # of the table of block maxima
_SLOTS = 1024  # queries that are multiplied with a block at once
_LOWEST = -(2.0**100)  # below every product, above the minus infinity of pairs that are masked


class _Pairs(NamedTuple):
    """Pairs [N] of a query and a reference, with two bounds of their similarity."""

    query: Tensor
    reference: Tensor
    lower: Tensor
    upper: Tensor

    @classmethod
    def join(cls, parts: list["_Pairs"]) -> "_Pairs":
        return cls(*(torch.cat(fields) for fields in zip(*parts, strict=True)))

    def where(self, mask: Tensor) -> "_Pairs":
        return _Pairs(*(field[mask] for field in self))


class _Hits(NamedTuple):
    """Blocks [N] that may hold a neighbour of a query [N], in ascending order of block."""

    block: Tensor
    query: Tensor


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
        arithmetic = torch.promote_types(self.frame.precision, torch.float32)
        n = len(self.query)
        self._twice_slack = 2 * self.slack.to(arithmetic)
        # what the k-th neighbour is at least; infinity where a query is given up
        self._floor = self._twice_slack.new_full((n,), -torch.inf)
        self._count = torch.zeros(n, dtype=torch.int64, device=self.query.device)
        self._found: list[_Pairs] = []
        self._nearest = Neighbors(
            self.query.new_full((n, self.k), -torch.inf, dtype=torch.float64),
            self.query.new_full((n, self.k), -1, dtype=torch.int64),
        )
        itemsize = torch.finfo(self.frame.precision).bits // 8
        width = max(1, _MAXIMA_BYTES // (self._blocks * itemsize))
        for first in range(0, n, width):
            columns = slice(first, min(first + width, n))
            for hits in self._hits(columns):
                self._collect(hits)
        self._settle(final=True)
        return self._nearest, self._floor == torch.inf

    @cached_property
    def _total(self) -> int:
        return len(self.reference if self.kept is None else self.kept)

    @cached_property
    def _block(self) -> int:
        block = _BLOCK
        while block > 1 and self._total < 16 * self.k * block:
            block //= 2
        return block

    @cached_property
    def _tile(self) -> int:
        """Rows of a tile: a multiple of the block."""
        rows = min(self._total, max(_BLOCK, min(_TILE_ROWS, _CHUNK // self.query.shape[1])))
        return -(-rows // self._block) * self._block

    @cached_property
    def _blocks(self) -> int:
        whole, rest = divmod(self._total, self._tile)
        return whole * (self._tile // self._block) + -(-rest // self._block)

    @cached_property
    def _fine(self) -> tuple[Frame, Tensor, float]:
        """Coordinates in float32 or better, with the rows of the queries and their error."""
        frame = self.frame.at_least_float32()
        return frame, *frame.queries(self.query)

    def _hits(self, columns: slice) -> Iterator[_Hits]:
        """Yield the blocks whose upper bound reaches a query's k-th greatest lower bound."""
        greatest, margin = self._maxima(columns)
        roundoff = output_roundoff(greatest.dtype)
        held: list[_Hits] = []
        width = max(1, _CHUNK // len(greatest))
        for first in range(0, greatest.shape[1], width):
            part = slice(columns.start + first, min(columns.start + first + width, columns.stop))
            value = greatest[:, first : first + width].to(margin.dtype).clamp_min_(_LOWEST)
            lower = value - roundoff * value.abs() - margin[:, None]
            self._floor[part] = _kth_greatest(lower, self.k)
            upper = value.clamp_min_(0) * (1 + roundoff) + margin[:, None]
            hit = upper >= self._floor[part] - self._twice_slack[part]
            if self.budget is not None:
                many = hit.sum(dim=0) > 4 * self.k + self._blocks // 8
                self._floor[part][many] = torch.inf
                hit &= ~many
            block, query = hit.nonzero().unbind(1)
            held.append(_Hits(block, query + part.start))
            if sum(len(hits.block) for hits in held) > _CHUNK:
                yield _sorted_by_block(held)
                held = []
        yield _sorted_by_block(held)

    def _maxima(self, columns: slice) -> tuple[Tensor, Tensor]:
        """Compute for every block a maximum of its products with each query, and its bound E.

        Rows h, h + S, h + 2 S, ... of a tile's product share a maximum, as neighbouring references
        tend to be of one class and would hide one another. The maximum is taken of the bits as
        integers, several times faster than of bfloat16. Negative floats are in reverse order as
        integers: the maximum of a block without a positive number is one of its numbers, hence a
        lower bound, and zero is the upper bound.

        Returns:
            Maxima [blocks, columns] in the precision of the product, and bounds [blocks].
        """
        x, query_error = self.frame.queries(self.query[columns])
        greatest = x.new_empty((self._blocks, len(x)))
        margins = []
        tile_bytes = _TILE_BYTES if x.device.type == "cpu" else _TILE_BYTES_GPU
        buffer = x.new_empty(max(self._tile, tile_bytes // x.element_size()))
        done = 0
        for start in range(0, self._total, self._tile):
            member = slice(start, min(start + self._tile, self._total))
            rows = member if self.kept is None else self.kept[member]
            y, error = self.frame.references(self.reference[rows], query_error)
            blocks = -(-len(y) // self._block)
            height = blocks * self._block
            padded = error.new_zeros(height)
            padded[: len(error)] = error
            margins.append(padded.view(self._block, blocks).amax(dim=0))
            width = max(1, buffer.numel() // height)
            for first in range(0, len(x), width):
                part = slice(first, min(first + width, len(x)))
                product = buffer[: height * (part.stop - first)].view(height, -1)
                torch.mm(y, x[part].T, out=product[: len(y)])
                product[len(y) :] = -torch.inf
                if self.groups is not None:
                    query_groups = self.groups[0][columns][part]
                    _exclude(product, query_groups, self.groups[1][rows])
                bits = as_integers(product).view(self._block, blocks, -1)
                greatest[done : done + blocks, part] = bits.amax(dim=0).view(x.dtype)
            done += blocks
        return greatest, torch.cat(margins).to(self._floor.dtype)

    def _collect(self, hits: _Hits) -> None:
        """Bound the similarities of the references in the blocks, and keep those that may win."""
        if not len(hits.block):
            return
        blocks, counts = torch.unique_consecutive(hits.block, return_counts=True)
        starts = counts.cumsum(0) - counts
        order = counts.argsort()
        while len(order):
            slots = min(int(counts[order[-1]]), _SLOTS)
            columns = self.query.shape[1]
            elements = max(self._block * columns, slots * columns, self._block * slots)
            size = max(1, _CHUNK // elements)
            order, some = order.tensor_split([max(0, len(order) - size)])
            self._found.append(self._refine(blocks[some], starts[some], counts[some], hits.query))
            if self.budget is None:
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
        frame, x, query_error = self._fine
        reference, exists = self._members(block)
        rows = reference if self.kept is None else self.kept[reference]
        chosen = self.reference.index_select(0, rows.flatten())
        y, error = frame.references(chosen, query_error)
        y, error = y.view(*rows.shape, -1), error.view(rows.shape)
        error.masked_fill_(~exists, -torch.inf)
        slots = min(int(count.max()), _SLOTS)
        products = (count + slots - 1) // slots
        if slots == _SLOTS:  # a block with more queries takes part in several products
            owner = torch.repeat_interleave(products)
            y, error, rows = y[owner], error[owner], rows[owner]
            part = (
                torch.arange(len(owner), device=owner.device)
                - (products.cumsum(0) - products)[owner]
            )
            start, count = (
                start[owner] + part * slots,
                (count[owner] - part * slots).clamp_max(slots),
            )
        slot = torch.arange(slots, device=query.device)
        column = query[(start[:, None] + slot).clamp_max_(len(query) - 1)]
        unused = slot >= count[:, None]
        chosen = x.index_select(0, column.flatten()).view(*column.shape, -1)
        value = torch.bmm(y, chosen.transpose(1, 2))
        if self.groups is not None:
            same = self.groups[0][column][:, None, :] == self.groups[1][rows][:, :, None]
            value.masked_fill_(same, -torch.inf)
        bound = error[:, :, None]
        if self.k == 1:
            lower = (value - bound.abs()).amax(dim=1).masked_fill_(unused, -torch.inf)
            lower = lower.flatten().to(self._floor.dtype)
            self._floor.scatter_reduce_(0, column.flatten(), lower, "amax")
        needed = (self._floor - self._twice_slack).clamp_min_(_LOWEST)[column]
        needed.masked_fill_(unused, torch.inf)
        product, place, slot = (value + bound >= needed[:, None, :]).nonzero().unbind(1)
        value, bound = value[product, place, slot], error[product, place]
        return _Pairs(column[product, slot], rows[product, place], value - bound, value + bound)

    def _members(self, block: Tensor) -> tuple[Tensor, Tensor]:
        """Positions [N, block size] of the blocks' references, and which of them exist."""
        per_tile = self._tile // self._block
        tile = block // per_tile
        rest = (self._total - tile * self._tile).clamp_max(self._tile)
        step = (rest + self._block - 1) // self._block
        inside = torch.arange(self._block, device=block.device) * step[:, None]
        position = (tile * self._tile + block % per_tile)[:, None] + inside
        exists = position < self._total
        return position.clamp_max_(self._total - 1), exists

    def _settle(self, *, final: bool = False) -> None:
        """Drop what was ruled out since; score what is left when it is final or too much."""
        held = sum(len(pairs.query) for pairs in self._found)
        if not held or (held <= _CHUNK and not final):
            return
        pairs = _Pairs.join(self._found)
        if self.k > 1:
            order = descending(pairs.lower).argsort()
            order, rank = rank_in_query(pairs.query, order)
            last = order[rank == self.k - 1]
            self._floor[pairs.query[last]] = self._floor[pairs.query[last]].maximum(
                pairs.lower[last].to(self._floor.dtype)
            )
        pairs = pairs.where(pairs.upper >= (self._floor - self._twice_slack)[pairs.query])
        if self.budget is not None:
            count = torch.bincount(pairs.query, minlength=len(self.query))
            self._floor[count > self.budget] = torch.inf
            pairs = pairs.where(count[pairs.query] <= self.budget)
        self._found = []
        self._nearest = self._merge(pairs)

    def _merge(self, pairs: _Pairs) -> Neighbors:
        """Score pairs and rank them together with the neighbours found before."""
        similarity = pair_similarity(
            self.query, self.reference, pairs.query, pairs.reference, distance=self.distance
        )
        pairs = pairs._replace(lower=similarity, upper=similarity)
        query, place = (self._nearest.index >= 0).nonzero().unbind(1)
        if len(query):
            similarity = self._nearest.similarity[query, place]
            before = _Pairs(query, self._nearest.index[query, place], similarity, similarity)
            pairs = _Pairs.join([before, pairs])
        order, rank = rank_pairs(pairs.query, pairs.lower, pairs.reference)
        order, rank = order[rank < self.k], rank[rank < self.k]
        query = pairs.query[order]
        nearest = Neighbors(*(torch.full_like(field, -1) for field in self._nearest))
        nearest.similarity.fill_(-torch.inf)
        nearest.similarity[query, rank] = pairs.lower[order]
        nearest.index[query, rank] = pairs.reference[order]
        return nearest


def _kth_greatest(values: Tensor, k: int) -> Tensor:
    """The k-th greatest of each column [N, Q]; minus infinity where there are fewer."""
    if k == 1:
        return values.amax(dim=0)
    if k > len(values):
        return values.new_full((values.shape[1],), -torch.inf)
    return values.T.contiguous().topk(k, dim=1, sorted=False).values.amin(dim=1)


def _sorted_by_block(parts: list[_Hits]) -> _Hits:
    block, query = (torch.cat(fields) for fields in zip(*parts, strict=True))
    if len(parts) > 1:
        order = block.argsort()
        block, query = block[order], query[order]
    return _Hits(block, query)


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
