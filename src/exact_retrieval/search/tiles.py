"""References in tiles, which are multiplied at once, and in blocks, which are bounded at once."""

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from jaxtyping import Int64, Shaped
from torch import Tensor

from .bits import as_integers, lowest
from .certificate import Frame, References
from .limits import Limits
from .pairs import join_ranges
from .problem import Problem

_SIZE = 32  # references in a block, at most
_BLOCKS = 16  # for each neighbour, at least: the best of them are seldom in one block


@dataclass(frozen=True)
class Tile:
    """Some references, cut into blocks.

    Attributes:
        references: their rows and bounds.
        member: row of the reference at each position; a block has every ``blocks``-th of them.
        missing: positions at the end of blocks that hold no reference of their own.
        groups: of the members; None for no mask.
    """

    references: References
    member: Int64[Tensor, " N"]
    missing: Int64[Tensor, " M"]
    groups: Int64[Tensor, " N"] | None

    @property
    def shape(self) -> tuple[int, int]:
        """Members of a block, and blocks."""
        return self.references.rows.shape[0], self.references.rows.shape[1]

    @property
    def rows(self) -> Shaped[Tensor, "N D2"]:
        """The low-precision rows of all positions."""
        return self.references.rows.flatten(0, 1)

    def mask(
        self, product: Shaped[Tensor, "Q N"], query_groups: Int64[Tensor, " Q"] | None
    ) -> None:
        """Set the entries of missing references and of equal groups to the lowest number."""
        masked = lowest(product.dtype)
        product.index_fill_(1, self.missing, masked)
        if self.groups is None or query_groups is None:
            return
        groups, order = self.groups.sort()
        first = torch.searchsorted(groups, query_groups)
        count = torch.searchsorted(groups, query_groups, right=True) - first
        total = int(count.sum())
        if total > product.numel() // 16:  # from here on, comparing all pairs is as fast
            product.masked_fill_(query_groups[:, None] == self.groups, masked)
            return
        query = torch.repeat_interleave(count)
        product[query, order.index_select(0, join_ranges(first, count))] = masked

    def maxima(self, product: Shaped[Tensor, "Q N"]) -> Shaped[Tensor, "Q blocks"]:
        """Find the greatest product of each block; for bfloat16, zero if none is positive.

        The bits of bfloat16 as integers are compared several times faster. The order of negative
        numbers is reversed by that.
        """
        is_slow = product.dtype == torch.bfloat16
        values = as_integers(product) if is_slow else product
        greatest: Tensor = values.unflatten(1, self.shape).amax(dim=1)
        return greatest.clamp_min_(0).view(product.dtype) if is_slow else greatest


def cut_tiles(
    problem: Problem, frame: Frame, kept: Int64[Tensor, " K"], limits: Limits
) -> Iterator[Tile]:
    """Cut references into tiles of about equal size, rounded to the frame's precision.

    Args:
        problem: what to search for.
        frame: the coordinates.
        kept: the rows of the references to take.
        limits: bounds the size of a tile.
    """
    reference, norms, groups = problem.reference, problem.reference_norm, problem.reference_groups
    for rows in kept.tensor_split(limits.tiles(len(kept), reference.shape[1])):
        member, missing, size = _arrange(reference, norms, rows, frame, problem.k)
        chosen = reference.index_select(0, member).view(size, -1, reference.shape[1])
        references = frame.references(chosen, norms[member].view(size, -1))
        yield Tile(references, member, missing, None if groups is None else groups[member])


def block_size(rows: int, blocks: int) -> int:
    """Return how many rows share a block: a power of two that leaves so many blocks, or 1."""
    size = _SIZE
    while size > 1 and rows < blocks * size:
        size //= 2
    return size


def _arrange(
    reference: Tensor, norms: Tensor, rows: Tensor, frame: Frame, k: int
) -> tuple[Tensor, Tensor, int]:
    """Choose which rows share a block.

    Blocks are more tightly bounded where the norms of y are similar. Under cosine they all are;
    then rows far apart share a block, as neighbouring ones tend to be of one class and would hide
    one another.

    Returns:
        Members and missing positions as in :class:`Tile`, and the size of a block.
    """
    size = block_size(len(rows), _BLOCKS * k)
    blocks = -(-len(rows) // size)
    position = torch.arange(blocks * size, device=rows.device)
    if frame.distance != "cosine":
        heights = frame.heights(reference.index_select(0, rows), norms[rows])
        rows = rows[heights.argsort()]
        position = position.view(blocks, size).T.flatten()
    missing = (position >= len(rows)).nonzero()[:, 0]
    return rows[position.clamp_max(len(rows) - 1)], missing, size
