"""Training images whose order and augmentation depend on seed, epoch and position alone.

A resumed training thus sees the same images as an unbroken one, with any number of workers.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch.utils.data import DistributedSampler

from src.datamodules.components.image_set import ImageSet
from src.datamodules.components.samples import Sample
from src.utils.seeding import derive_seed


class EpochSampler(DistributedSampler[int]):
    """A distributed sampler that also encodes the epoch: it draws epoch * images + position."""

    def __iter__(self) -> Iterator[int]:
        offset = self.epoch * len(self.dataset)  # type: ignore[arg-type]
        return (offset + position for position in super().__iter__())


@dataclass(eq=False)
class AugmentedImageSet(ImageSet):
    """Images whose transform draws from torch's global generator, seeded for each draw.

    Attributes:
        seed: of the augmentation.
    """

    seed: int

    def __getitem__(self, draw: int) -> Sample:
        """Read and augment the image at position `draw` modulo the number of images."""
        with torch.random.fork_rng(devices=[]):
            torch.default_generator.manual_seed(derive_seed(self.seed, draw))
            return super().__getitem__(draw % len(self))
