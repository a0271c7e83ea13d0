"""A set of images some of which were embedded before."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from src.datamodules.components.image_set import ImageSet
from src.datamodules.components.samples import EmbeddedSample, Sample

_NONE = -1


@dataclass(eq=False)
class ResumedSet(ImageSet):
    """Images, with embeddings in place of those that need not be read again.

    Attributes:
        embedded: positions int64 [N] in the set, and embeddings [N, D], shard by shard.
    """

    embedded: Sequence[tuple[Tensor, Tensor]]

    def __post_init__(self) -> None:
        none = (torch.empty(0, dtype=torch.int64), torch.empty(0))
        columns = zip(*(self.embedded or [none]), strict=True)
        index, self._embeddings = map(torch.cat, columns)
        self._row = torch.full((len(self),), _NONE)
        self._row[index] = torch.arange(len(index))

    def read(self, indices: Sequence[int], pin_memory: bool = False) -> Sample | EmbeddedSample:
        """Take the embeddings of a batch if it has been embedded, and otherwise read its images."""
        rows = self._row[torch.tensor(indices)]
        if (rows == _NONE).any():
            return super().read(indices, pin_memory)
        return EmbeddedSample(self._embeddings[rows], *self.numbers(indices).unbind(1))
