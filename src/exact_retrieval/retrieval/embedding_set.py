"""Samples of one set, as a metric accumulated them."""

from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise

import torch
from torch import Tensor

_BLOCK_BYTES = 32 * 2**20


@dataclass(frozen=True)
class EmbeddingSet:
    """The samples of a set that this process holds, N in order of arrival, repeats included.

    Attributes:
        name: "reference" or "query".
        batches: floating tensors [B, D], N rows in all; none is copied before it is needed.
        indices: int64 tensor [N], the position of each sample in the whole set.
        labels: int64 tensor [N].
        cameras: int64 tensor [N], -1 where unknown.
    """

    name: str
    batches: list[Tensor]
    indices: Tensor
    labels: Tensor
    cameras: Tensor

    def __len__(self) -> int:
        return len(self.labels)

    def ordered(self, rows: Tensor) -> tuple[Tensor, Tensor]:
        """Embeddings [R, D] of some rows, at least one, by ascending index; and the rows so.

        Args:
            rows: int64 tensor [R], ascending positions in the order of arrival.
        """
        embeddings, indices = self.take(rows), self.indices[rows]
        if not (indices.diff() < 0).any():
            return embeddings, rows
        order = indices.argsort()
        return embeddings[order], rows[order]

    def take(self, rows: Tensor) -> Tensor:
        """The embeddings [R, D] of some rows, at least one; a view where they adjoin in a batch.

        Args:
            rows: int64 tensor [R], ascending positions in the order of arrival.
        """
        bounds = pairwise(torch.searchsorted(rows, self._starts).tolist())
        parts = [
            _pick(batch, rows[first:last] - start)
            for batch, start, (first, last) in zip(
                self.batches, self._starts[:-1].tolist(), bounds, strict=True
            )
            if first < last
        ]
        return parts[0] if len(parts) == 1 else torch.cat(parts)

    @cached_property
    def _starts(self) -> Tensor:
        lengths = torch.tensor([0, *map(len, self.batches)], device=self.labels.device)
        return lengths.cumsum(0)


def block_length(rows: Tensor) -> int:
    """How many rows like those of [N, D] make a block."""
    return max(_BLOCK_BYTES // (rows.shape[1] * rows.element_size()), 1)


def _pick(batch: Tensor, rows: Tensor) -> Tensor:
    first, last = int(rows[0]), int(rows[-1])
    return batch[first : last + 1] if last - first + 1 == len(rows) else batch[rows]
