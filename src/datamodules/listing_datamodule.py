"""A data set that a CSV or Parquet file describes."""

from functools import cached_property
from pathlib import Path
from typing import Any

from src.datamodules.components.image_listing import Listing, hold_out, order
from src.datamodules.components.layouts import ImageFile, SetName
from src.datamodules.components.table_listing import read_sets
from src.datamodules.image_datamodule import ImageDataModule


class ListingDataModule(ImageDataModule):
    """The sets of a file that `read_sets` reads.

    If the test images are in both `reference` and `query`, each is compared with all others. If no
    image is in `val`, the first one of every identity of `train` is, and the others are in `train`.

    Args:
        file: CSV or Parquet.
        options: as for `ImageDataModule`.
    """

    def __init__(self, file: str | Path, **options: Any) -> None:
        super().__init__(Path(file).parent, **options)
        self.file = Path(file)

    @cached_property
    def _sets(self) -> dict[SetName, list[ImageFile]]:
        return read_sets(self.file)

    def list_set(self, set_name: SetName) -> Listing:
        """List the images of a set; see `read_sets` for errors."""
        sets = self._sets
        self.leave_one_out = bool({*sets["query"]} & {*sets["reference"]})
        lacks_val = set_name == "val" and not sets["val"]
        images = sorted(sets["train" if lacks_val else set_name], key=order)
        images = images if sets["val"] else hold_out(images, set_name)
        if not images:
            raise ValueError(f"{self.file} should list images of the set `{set_name}`, got none")
        return Listing(images, {})
