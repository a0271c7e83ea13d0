"""The samples of one set, as a metric accumulated them."""

from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise

import torch
from jaxtyping import Float, Float64, Int64
from torch import Tensor

_PROJECTIONS = 8


@dataclass(frozen=True)
class EmbeddingSet:
    """The N samples of a set that this process holds, in order of arrival, repeats included.

    Attributes:
        name: "reference" or "query".
        batches: embeddings, N rows in all, of one width; none is copied before it is needed.
        indices: the position of each sample in the whole set; all -1 if unknown.
        labels: the identities.
        cameras: -1 where unknown.
    """

    name: str
    batches: list[Float[Tensor, "_ _"]]
    indices: Int64[Tensor, " N"]
    labels: Int64[Tensor, " N"]
    cameras: Int64[Tensor, " N"]

    def __len__(self) -> int:
        return len(self.labels)

    def ordered(
        self, rows: Int64[Tensor, " R"]
    ) -> tuple[Float[Tensor, "R D"], Int64[Tensor, " R"]]:
        """Return the embeddings of some rows by ascending index, and the rows in that order.

        Args:
            rows: ascending positions in the order of arrival, at least one.
        """
        embeddings, indices = self.take(rows), self.indices[rows]
        if not (indices.diff() < 0).any():
            return embeddings, rows
        order = indices.argsort()
        return embeddings[order], rows[order]

    def take(self, rows: Int64[Tensor, " R"]) -> Float[Tensor, "R D"]:
        """Return the embeddings of some rows; a view if they are contiguous in one batch.

        Args:
            rows: ascending positions in the order of arrival, at least one.
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

    def sketches(self) -> Float64[Tensor, "N S"]:
        """Return each embedding's projections on a few random directions, and its norm.

        The distance between the projections of two embeddings estimates their own: with directions
        of entries +-1/sqrt(m), its square has that expectation (Achlioptas, "Database-friendly
        random projections", JCSS 2003). The directions are the same on every process.
        """
        if not self.batches:
            return self.labels.new_empty((0, _PROJECTIONS + 1), dtype=torch.float64)
        directions = _random_directions(self.batches[0])
        projected = torch.cat([batch @ directions for batch in self.batches])
        norms = torch.cat([torch.linalg.vector_norm(batch, dim=1) for batch in self.batches])
        return torch.column_stack([projected, norms]).double()

    @cached_property
    def _starts(self) -> Int64[Tensor, " batches_and_one"]:
        lengths = torch.tensor([0, *map(len, self.batches)], device=self.labels.device)
        return lengths.cumsum(0)


def _random_directions(like: Float[Tensor, "B D"]) -> Float[Tensor, "D S"]:
    generator = torch.Generator().manual_seed(0)
    bits = torch.randint(2, (like.shape[1], _PROJECTIONS), generator=generator)
    directions: Tensor = (2 * bits - 1) / _PROJECTIONS**0.5
    return directions.to(like)


def _pick(batch: Float[Tensor, "B D"], rows: Int64[Tensor, " R"]) -> Float[Tensor, "R D"]:
    first, last = int(rows[0]), int(rows[-1])
    return batch[first : last + 1] if last - first + 1 == len(rows) else batch[rows]
