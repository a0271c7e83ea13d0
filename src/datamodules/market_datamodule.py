"""A data set in folders, such as Market-1501."""

from pathlib import Path
from typing import Any

from src.datamodules.components.image_listing import Listing, list_images
from src.datamodules.components.layouts import SetName
from src.datamodules.image_datamodule import ImageDataModule


class MarketDataModule(ImageDataModule):
    """The sets of Market-1501, or of another data set in one of the layouts of `LAYOUTS`.

    Args:
        data_dir: folder that holds the sets.
        distractors: whether `reference` keeps Market's distractors, identity 0000.
        options: as for `ImageDataModule`.
    """

    def __init__(
        self, data_dir: str | Path = "data", *, distractors: bool = False, **options: Any
    ) -> None:
        super().__init__(data_dir, **options)
        self.distractors = distractors

    def list_set(self, set_name: SetName) -> Listing:
        """List the images of a set, as `list_images` does."""
        return list_images(self.data_dir, set_name, distractors=self.distractors)
