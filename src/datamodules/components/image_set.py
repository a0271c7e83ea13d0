"""Images of one set as a torch dataset."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import pandas as pd
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


@dataclass(eq=False)
class ImageSet(Dataset[Sample]):
    """The images of one set, with the integers of their identities.

    Attributes:
        name: of the set, for people.
        images: the listing in which `Sample.index` counts.
        labels: the integer of every identity name.
        transform: from an RGB PIL image to a tensor.
    """

    name: str
    images: Sequence[ImageFile]
    labels: Mapping[str, int]
    transform: Callable[[Image.Image], Tensor]

    @property
    def identities(self) -> set[str]:
        """Names of the identities that occur."""
        return {image.identity for image in self.images}

    @property
    def counts(self) -> dict[str, int]:
        """Number of identities and of images, as `<set>_identities` and `<set>_images`."""
        return {f"{self.name}_identities": len(self.identities), f"{self.name}_images": len(self)}

    def table(self, data_dir: Path) -> pd.DataFrame:
        """Describe all images, in the order in which `Sample.index` counts.

        Returns:
            Columns path (str, relative to `data_dir`, with "/"), identity (str) and camera (Int64,
            null where unknown).
        """
        cameras = [None if image.camera < 0 else image.camera for image in self.images]
        return pd.DataFrame(
            {
                "path": [image.path.relative_to(data_dir).as_posix() for image in self.images],
                "identity": [image.identity for image in self.images],
                "camera": pd.array(cameras, dtype="Int64"),
            }
        )

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
