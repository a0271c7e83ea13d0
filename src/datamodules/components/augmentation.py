"""Training images whose order and augmentation depend on seed, epoch and position alone.

So a resumed training sees what an unbroken one would have seen, with any number of workers.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence

import torch
from PIL import Image
from torch import Tensor
from torch.utils.data import DistributedSampler

from src.datamodules.components.image_listing import ImageFile
from src.datamodules.components.image_set import ImageSet, Sample


class EpochSampler(DistributedSampler[int]):
    """A distributed sampler whose numbers tell the epoch too: epoch * images + position."""

    def __iter__(self) -> Iterator[int]:
        offset = self.epoch * len(self.dataset)  # type: ignore[arg-type]
        return (offset + position for position in super().__iter__())


class AugmentedImageSet(ImageSet):
    """Images whose random transform is seeded by what `EpochSampler` draws.

    Args:
        name: of the set.
        images: the listing.
        labels: the integer of every identity name.
        transform: from an RGB PIL image to a tensor, random by torch's global generator.
        seed: of the augmentation.
    """

    def __init__(
        self,
        name: str,
        images: Sequence[ImageFile],
        labels: Mapping[str, int],
        transform: Callable[[Image.Image], Tensor],
        *,
        seed: int,
    ) -> None:
        super().__init__(name, images, labels, transform)
        self.seed = seed

    def __getitem__(self, draw: int) -> Sample:
        """Read and augment the image at position `draw` modulo the number of images."""
        with torch.random.fork_rng(devices=[]):
            torch.default_generator.manual_seed(hash((self.seed, draw)))
            return super().__getitem__(draw % len(self))
