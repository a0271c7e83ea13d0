"""References in blocks: the greatest product of each block with every query."""

from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from .bits import as_integers, lowest
from .certificate import Frame, Queries
from .multiplication import multiply, output_roundoff, product_dtype

_SMALL, _LARGE = 32, 64  # references that share a maximum, at least and at most
_TABLE = 2**22  # maxima that small blocks may be afforded for
_TILE_ROWS = 4096  # references that are multiplied at once
_TILE_BYTES = 2**23  # of a product on a CPU: it stays in the caches until it is reduced
_TILE_BYTES_GPU = 2**27  # enough to fill the device
_CHUNK = 2**20  # elements of a temporary
_LOWEST = -(2.0**100)  # below every similarity


@dataclass(frozen=True)
class Blocks:
    """How references are cut: into tiles of consecutive ones, those into blocks.

    Rows h, h + S, h + 2 S, ... of a tile make a block, as neighbouring references tend to be of one
    class and would hide one another. Only the last tile may have other than ``tile`` references.

    Attributes:
        total: number of references.
        size: references in a block, at most.
        tile: references in a tile, a multiple of ``size``.
    """

    total: int
    size: int
    tile: int

    @classmethod
    def fit(cls, total: int, *, queries: int, columns: int, k: int) -> "Blocks":
        """Choose sizes for a number of references, queries, columns and neighbours."""
        size = _SMALL
        while size < _LARGE and total // size * queries > _TABLE:
            size *= 2
        while size > 1 and total < 16 * k * size:
            size //= 2
        rows = min(total, max(_LARGE, min(_TILE_ROWS, _CHUNK // columns)))
        return cls(total, size, -(-rows // size) * size)

    @property
    def count(self) -> int:
        """Number of blocks."""
        whole, rest = divmod(self.total, self.tile)
        return whole * (self.tile // self.size) + -(-rest // self.size)

    def members(self, block: Tensor) -> tuple[Tensor, Tensor]:
        """Positions [N, size] of the references in blocks [N], and which of them exist."""
        per_tile = self.tile // self.size
        tile = block // per_tile
        rest = (self.total - tile * self.tile).clamp_max(self.tile)
        step = (rest + self.size - 1) // self.size
        inside = torch.arange(self.size, device=block.device) * step[:, None]
        position = (tile * self.tile + block % per_tile)[:, None] + inside
        exists = position < self.total
        return position.clamp_max_(self.total - 1), exists


class Maxima(NamedTuple):
    """For blocks and queries, what bounds the similarities s of their pairs.

    Attributes:
        greatest: of the products [blocks, Q]. The largest of a block if that is positive; else one
            of them, or where some are masked minus infinity. Of integers always the largest.
        unit: what an entry of the product stands for [Q].
        is_masked: whether pairs are.
        roundoff: bound w.
        block_error: greatest bound E in the block [blocks].
        query_error: bound F [Q].
    """

    greatest: Tensor
    unit: Tensor
    is_masked: bool
    roundoff: float
    block_error: Tensor
    query_error: Tensor

    def of(self, some: slice) -> "Maxima":
        """Those of some queries."""
        return self._replace(
            greatest=self.greatest[:, some],
            unit=self.unit[some],
            query_error=self.query_error[some],
        )

    def bounds(self) -> tuple[Tensor, Tensor]:
        """Bound the greatest similarity of each block [blocks, Q], before F, from both sides."""
        value = self.greatest.to(self.unit.dtype)
        if not self.greatest.is_floating_point():
            value = value.mul_(self.unit)
        if self.is_masked:
            value.masked_fill_(self.greatest == lowest(self.greatest.dtype), _LOWEST)
        error = self.block_error[:, None]
        lower = value - error
        if self.roundoff:
            lower -= self.roundoff * value.abs()
        return lower, value.clamp_min_(0).mul_(1 + self.roundoff).add_(error)


def find_maxima(
    queries: Queries,
    reference: Tensor,
    norms: Tensor,
    kept: Tensor | None,
    groups: tuple[Tensor, Tensor] | None,
    blocks: Blocks,
    frame: Frame,
) -> Maxima:
    """Multiply all references by queries, tile by tile, and keep the maxima of blocks.

    They are taken of the bits as integers, several times faster than of bfloat16. Negative floats
    are in reverse order as integers: the maximum of a block without a positive product is one of
    its products, and zero is above it.

    Args:
        queries: in the frame's coordinates.
        reference: embeddings [R, D].
        norms: their norms [R].
        kept: rows of ``reference`` that the blocks are made of; None for all.
        groups: of queries [Q] and references [R]: those of one are masked. None for no mask.
        blocks: how the references are cut.
        frame: coordinates of the products.
    """
    x, dtype = queries.rows, frame.arithmetic
    greatest = x.new_empty((blocks.count, len(x)), dtype=product_dtype(x.dtype))
    errors, extents = [], []
    tile_bytes = _TILE_BYTES if x.device.type == "cpu" else _TILE_BYTES_GPU
    buffer = greatest.new_empty(max(blocks.tile, tile_bytes // greatest.element_size()))
    done = 0
    for start in range(0, blocks.total, blocks.tile):
        member = slice(start, min(start + blocks.tile, blocks.total))
        rows = member if kept is None else kept[member]
        y, error, norm = frame.references(reference[rows], norms[rows])
        extents.append(norm.amax())
        count = -(-len(y) // blocks.size)
        height = count * blocks.size
        padded = error.new_zeros(height)
        padded[: len(error)] = error
        errors.append(padded.view(blocks.size, count).amax(dim=0))
        width = max(1, buffer.numel() // height)
        for first in range(0, len(x), width):
            part = slice(first, min(first + width, len(x)))
            product = buffer[: height * (part.stop - first)].view(height, -1)
            multiply(y, x[part], out=product[: len(y)])
            product[len(y) :] = lowest(product.dtype)
            if groups is not None:
                _mask(product, groups[0][part], groups[1][rows])
            bits = as_integers(product).view(blocks.size, count, -1)
            torch.amax(bits, dim=0, out=as_integers(greatest[done : done + count, part]))
        done += count
    unit, error = queries.unit.to(dtype), (queries.error * torch.stack(extents).amax()).to(dtype)
    block_error = torch.cat(errors).to(dtype)
    is_masked = groups is not None
    return Maxima(greatest, unit, is_masked, output_roundoff(x.dtype), block_error, error)


def _mask(product: Tensor, query_groups: Tensor, reference_groups: Tensor) -> None:
    """Set the entries [R, Q] of equal groups to the lowest number."""
    masked = lowest(product.dtype)
    groups, order = query_groups.sort()
    first = torch.searchsorted(groups, reference_groups)
    repeats = torch.searchsorted(groups, reference_groups, right=True) - first
    total = int(repeats.sum())
    if total > product.numel() // 16:
        product[: len(repeats)].masked_fill_(reference_groups[:, None] == query_groups, masked)
    elif total:
        row = torch.repeat_interleave(repeats)
        offset = torch.arange(total, device=row.device) - (repeats.cumsum(0) - repeats)[row]
        product[row, order[first[row] + offset]] = masked
