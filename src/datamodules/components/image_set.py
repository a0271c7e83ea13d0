"""Images of one set as a torch dataset."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import pandas as pd
import torch
from PIL import Image
from torch import Tensor
from torch.utils.data import Dataset

from src.datamodules.components.image_listing import ImageFile
from src.datamodules.components.samples import Sample


@dataclass(eq=False)
class ImageSet(Dataset[Sample]):
    """The images of one set, with the integers of their identities.

    Attributes:
        name: of the set, for people.
        root: the folder that paths in `table` are relative to.
        images: the listing in which `Sample.index` counts.
        labels: the integer of every identity name.
        transform: from an RGB PIL image to a tensor.
    """

    name: str
    root: Path
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

    def table(self) -> pd.DataFrame:
        """Describe all images, in the order in which `Sample.index` counts.

        Returns:
            Columns path (str, relative to `root`, with "/"), identity (str) and camera (Int64,
            null where unknown).
        """
        cameras = [None if image.camera < 0 else image.camera for image in self.images]
        return pd.DataFrame(
            {
                "path": [image.path.relative_to(self.root).as_posix() for image in self.images],
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
        return Sample(self.transform(pixels), *self.numbers(index))

    def numbers(self, index: int) -> Tensor:
        """Return label, camera and index of an image, as in `Sample`, without reading it."""
        file = self.images[index]
        return torch.tensor([self.labels[file.identity], file.camera, index])
