"""A data set that a CSV or Parquet file describes."""

from pathlib import Path
from typing import Any

from src.datamodules.components.image_listing import Listing, hold_out, order
from src.datamodules.components.layouts import ImageFile, SetName
from src.datamodules.components.table_listing import are_same, read_sets
from src.datamodules.image_datamodule import ImageDataModule


class ListingDataModule(ImageDataModule):
    """The sets of a file that `read_sets` reads.

    If all test images are in both `reference` and `query`, each is compared with all others. If no
    image is in `val`, the first one of every identity of `train` is, and the others are in `train`.

    Args:
        file: CSV or Parquet.
        options: as for `ImageDataModule`.
    """

    _sets: dict[SetName, list[ImageFile]]

    def __init__(self, file: str | Path, **options: Any) -> None:
        self.file = Path(file)
        super().__init__(self.file.parent, **options)

    def list_set(self, set_name: SetName) -> Listing:
        """List the images of a set.

        Raises:
            FileNotFoundError: if there is no such file.
            ValueError: if the set is empty, or the file is not as `read_sets` expects.
        """
        if not hasattr(self, "_sets"):
            self._sets = read_sets(self.file)
            self.leave_one_out = are_same(self._sets, self.file)
            if self.leave_one_out:
                self.notice = (
                    f"Leave-one-out: each of the {len(self._sets['query']):,} images is compared "
                    "with all others of the same set."
                )
        source: SetName = "train" if set_name == "val" and not self._sets["val"] else set_name
        images = sorted(self._sets[source], key=order)
        if not self._sets["val"]:
            images = hold_out(images, set_name)
        if not images:
            raise ValueError(f"{self.file} should list images of the set `{set_name}`, got none")
        return Listing(images, [])
