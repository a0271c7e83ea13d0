"""Images of one set as a torch dataset."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import torch
from torch import Tensor
from torch.utils.data import Dataset

from src.datamodules.components.layouts import ImageFile
from src.datamodules.components.samples import EmbeddedSample, Sample
from src.images import decode, digest_of, read_file
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
        transform: from an RGB image, uint8 [3, H, W], to one of the size that the network takes.
        digests: SHA-256 of every file, which its content must still have; None if any will do.
    """

    name: str
    root: Path
    images: Sequence[ImageFile]
    labels: Mapping[str, int]
    cameras: Mapping[str, int]
    transform: Callable[[Tensor], Tensor]
    digests: Sequence[bytes] | None = field(default=None, kw_only=True)

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
        folder = f"{self.root.as_posix().rstrip('/')}/"
        columns = [path.as_posix().removeprefix(folder) for path in paths], identities, cameras
        return describe_images(*(pa.array(column, pa.string()) for column in columns))

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, index: int) -> Sample:
        """Read one image.

        Raises:
            ValueError: if the file cannot be decoded as an image, or has changed.
        """
        return Sample(self._pixels(index), *self.numbers([index])[0])

    def read(self, indices: Sequence[int], pin_memory: bool = False) -> Sample | EmbeddedSample:
        """Read a batch of images.

        Args:
            indices: positions in the set.
            pin_memory: whether to put the pixels into page-locked memory.

        Raises:
            ValueError: if a file cannot be decoded as an image, or has changed.
        """
        images = [self._pixels(index).permute(1, 2, 0).numpy() for index in indices]
        # numpy, unlike torch, copies without threads of its own, which would disturb the network's.
        pixels = torch.from_numpy(np.stack(images)).permute(0, 3, 1, 2)
        columns = self.numbers(indices).unbind(1)
        return Sample(pixels.pin_memory() if pin_memory else pixels, *columns)

    def numbers(self, indices: Sequence[int]) -> Tensor:
        """Return label, camera and index of some images, int64 [B, 3], without reading them."""
        files = [self.images[index] for index in indices]
        labels = [self.labels[file.identity] for file in files]
        cameras = [_UNKNOWN if f.camera is None else self.cameras[f.camera] for f in files]
        return torch.tensor([labels, cameras, list(indices)]).T.contiguous()

    def _pixels(self, index: int) -> Tensor:
        path = self.images[index].path
        try:
            content = read_file(path)
            if self.digests is not None and digest_of(content) != self.digests[index]:
                raise ValueError("it has changed since the evaluation began")
            return self.transform(decode(content))
        except (OSError, ValueError) as error:
            raise ValueError(f"Cannot read the image {path}: {error}") from error
