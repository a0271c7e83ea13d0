"""The layouts of data folders: where each set is, and what the names of its files say."""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Literal, NamedTuple

SetName = Literal["train", "val", "reference", "query"]


class ImageFile(NamedTuple):
    """One image of a set.

    Attributes:
        path: the file.
        identity: the name of the person or thing.
        camera: the name of the camera; None where it is unknown.
    """

    path: Path
    identity: str
    camera: str | None


class Layout(NamedTuple):
    """One way to lay out a data set.

    Attributes:
        name: for people.
        folders: of the images of every set.
        form: of a file's name, which says identity and camera; None if a folder in the set's folder
            says the identity.
        example: of such a name.
        lists: of the set's files, in the data folder; none if all files of its folder belong to it.
    """

    name: str
    folders: Mapping[SetName, str]
    form: str | None = None
    example: str = ""
    lists: Mapping[SetName, str] | None = None

    @property
    def landmark(self) -> str:
        """The file or folder that tells this layout from others."""
        return (self.lists or self.folders)["reference"]

    def match(self, path: Path) -> re.Match[str] | None:
        """Find identity and camera in a file's name."""
        return re.match(self.form, path.name) if self.form else None


def _sets(train: str, val: str, reference: str, query: str) -> dict[SetName, str]:
    return {"train": train, "val": val, "reference": reference, "query": query}


_BOXES = _sets("bounding_box_train", "bounding_box_train", "bounding_box_test", "query")
_VEHICLES = _sets("image_train", "image_train", "image_test", "image_query")
_LISTS = _sets("list_train.txt", "list_val.txt", "list_gallery.txt", "list_query.txt")
_ID, _CAMERA = r"(?P<identity>\d+)_", r"(?P<camera>\d+)"
_MSMT = _ID + r"\d+_" + _CAMERA + r"_\d+[a-z]+_", "0000_000_01_0303noon_0008_0.jpg"

PREPARED = Layout("prepared", _sets("train", "val", "reference", "query"))
MARKET = Layout(
    "Market-1501",
    _BOXES,
    r"(?P<identity>-1|\d+)_c(?P<camera>\d+)s\d+_\d+_\d+",
    "0001_c1s1_001051_00.jpg",
)
LAYOUTS = (
    PREPARED,
    MARKET,
    Layout("DukeMTMC-reID", _BOXES, _ID + "c" + _CAMERA + r"_f\d+", "0001_c2_f0046182.jpg"),
    Layout("CUHK03 (new protocol)", _BOXES, _ID + "c" + _CAMERA + r"_\d+\.", "0003_c1_21.png"),
    Layout("VeRi-776", _VEHICLES, _ID + "c" + _CAMERA + r"_\d+_", "0002_c002_00030600_0.jpg"),
    Layout("MSMT17", _sets("train", "train", "test", "test"), *_MSMT, _LISTS),
    Layout("MSMT17", _sets(*["mask_train_v2"] * 2, *["mask_test_v2"] * 2), *_MSMT, _LISTS),
)
"""All layouts. Those with the same folders are told apart by the names of their files."""


def parse(path: Path, layout: Layout) -> ImageFile:
    """Tell who is on an image, and by which camera it was taken.

    Raises:
        ValueError: if the name is not of the layout.
    """
    match = next(filter(None, (each.match(path) for each in LAYOUTS)), None)
    camera = match and str(int(match["camera"]))
    if layout.form is None:
        return ImageFile(path, path.parent.name, camera)
    match = layout.match(path)
    if match is None:
        raise ValueError(
            f"{path} should be named like {layout.example}, as everything in the layout of "
            f"{layout.name}"
        )
    return ImageFile(path, match["identity"], str(int(match["camera"])))
