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

    def __getitem__(self, index: int) -> Sample | EmbeddedSample:  # type: ignore[override]
        """Take the embedding of an image if there is one, and otherwise read the image."""
        row = int(self._row[index])
        if row == _NONE:
            return super().__getitem__(index)
        return EmbeddedSample(self._embeddings[row], *self.numbers(index))
