"""Images of one set as a torch dataset."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import pandas as pd
import pyarrow as pa
import torch
from PIL import Image
from torch import Tensor
from torch.utils.data import Dataset

from src.datamodules.components.layouts import ImageFile
from src.datamodules.components.samples import Sample
from src.utils.tables import describe_images

_UNKNOWN = -1


@dataclass(eq=False)
class ImageSet(Dataset[Sample]):
    """The images of one set, with the integers of their identities.

    Attributes:
        name: of the set, for people.
        root: the folder that paths in `table` are relative to.
        images: the listing in which `Sample.index` counts.
        labels: the integer of every identity name.
        cameras: the integer of every camera name.
        transform: from an RGB PIL image to a tensor.
    """

    name: str
    root: Path
    images: Sequence[ImageFile]
    labels: Mapping[str, int]
    cameras: Mapping[str, int]
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
            Columns path (str, relative to `root` if it is in there, with "/"), identity (str) and
            camera (null where unknown; Int64, or str if a name is no integer).
        """
        paths, identities, cameras = zip(*self.images, strict=True)
        names = (p.relative_to(self.root) if p.is_relative_to(self.root) else p for p in paths)
        columns = [name.as_posix() for name in names], identities, cameras
        return describe_images(*(pa.array(column, pa.string()) for column in columns))

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
        except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
            raise ValueError(f"Cannot read the image {file.path}: {error}") from error
        return Sample(self.transform(pixels), *self.numbers(index))

    def numbers(self, index: int) -> Tensor:
        """Return label, camera and index of an image, as in `Sample`, without reading it."""
        file = self.images[index]
        camera = _UNKNOWN if file.camera is None else self.cameras[file.camera]
        return torch.tensor([self.labels[file.identity], camera, index])
