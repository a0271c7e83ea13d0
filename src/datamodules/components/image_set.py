"""Images of one set as a torch dataset."""

from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

import torch
from PIL import Image
from torch import Tensor
from torch.utils.data import Dataset

from src.datamodules.components.image_listing import ImageFile


class Sample(NamedTuple):
    """One image, or after collation a batch of B images.

    Attributes:
        image: float32 tensor [3, 128, 64] with values in [0, 1]; batch [B, 3, 128, 64].
        label: int64 scalar, the integer of the identity; batch [B].
        camera: int64 scalar, number of the camera, -1 where unknown; batch [B].
        index: int64 scalar, position in the sorted listing of the set; batch [B].
    """

    image: Tensor
    label: Tensor
    camera: Tensor
    index: Tensor  # type: ignore[assignment]  # shadows tuple.index


class ImageSet(Dataset[Sample]):
    """The images of one set, with the integers of their identities.

    Args:
        name: of the set, as people are to read it.
        images: the listing that `Sample.index` counts in.
        labels: the integer of every identity name.
        transform: from an RGB PIL image to a tensor.
    """

    def __init__(
        self,
        name: str,
        images: Sequence[ImageFile],
        labels: Mapping[str, int],
        transform: Callable[[Image.Image], Tensor],
    ) -> None:
        self.name = name
        self.images = images
        self.labels = labels
        self.transform = transform

    @property
    def identities(self) -> set[str]:
        """Names of the identities that occur."""
        return {image.identity for image in self.images}

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, index: int) -> Sample:
        """Read one image.

        Raises:
            ValueError: if the file cannot be decoded as an image.
        """
        file = self.images[index]
        try:
            with Image.open(file.path) as image:
                pixels = image.convert("RGB")
        except (OSError, SyntaxError) as error:
            raise ValueError(f"Cannot read the image {file.path}: {error}") from error
        numbers = torch.tensor([self.labels[file.identity], file.camera, index])
        return Sample(self.transform(pixels), *numbers)
