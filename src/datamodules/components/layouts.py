"""The layouts of data folders: where each set is, and what the names of its files say."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
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


@dataclass(frozen=True)
class Layout:
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
    form: re.Pattern[str] | None = None
    example: str = ""
    lists: Mapping[SetName, str] | None = None

    @property
    def landmark(self) -> str:
        """The file or folder that tells this layout from others."""
        return (self.lists or self.folders)["reference"]

    def parse(self, path: Path) -> ImageFile:
        """Tell who is on an image, and by which camera it was taken.

        Raises:
            ValueError: if the name is not of this layout.
        """
        if self.form is None:
            return ImageFile(path, path.parent.name, _find_camera(path.name))
        match = self.form.match(path.name)
        if match is None:
            raise ValueError(
                f"{path} should be named like {self.example}, as everything in the layout of "
                f"{self.name}"
            )
        return ImageFile(path, match["identity"], str(int(match["camera"])))


def _sets(train: str, val: str, reference: str, query: str) -> dict[SetName, str]:
    return {"train": train, "val": val, "reference": reference, "query": query}


_BOXES = _sets("bounding_box_train", "bounding_box_train", "bounding_box_test", "query")
_VEHICLES = _sets("image_train", "image_train", "image_test", "image_query")
_MSMT_NAME = re.compile(r"(?P<identity>\d+)_\d+_(?P<camera>\d+)_\d+(morning|noon|afternoon)_\d+")
_MSMT_EXAMPLE = "0000_000_01_0303morning_0008_0.jpg"
_MSMT_LISTS = _sets("list_train.txt", "list_val.txt", "list_gallery.txt", "list_query.txt")

MARKET = Layout(
    "Market-1501",
    _BOXES,
    re.compile(r"(?P<identity>-1|\d+)_c(?P<camera>\d+)s\d+_\d+_\d+"),
    "0001_c1s1_001051_00.jpg",
)
LAYOUTS = (
    Layout("prepared", _sets("train", "val", "reference", "query")),
    MARKET,
    Layout(
        "DukeMTMC-reID",
        _BOXES,
        re.compile(r"(?P<identity>\d+)_c(?P<camera>\d+)_f\d+"),
        "0001_c2_f0046182.jpg",
    ),
    Layout(
        "CUHK03 (new protocol)",
        _BOXES,
        re.compile(r"(?P<identity>\d+)_c(?P<camera>\d+)_\d+\."),
        "0003_c1_21.png",
    ),
    Layout(
        "VeRi-776",
        _VEHICLES,
        re.compile(r"(?P<identity>\d+)_c(?P<camera>\d+)_\d+_\d+"),
        "0002_c002_00030600_0.jpg",
    ),
    *(
        Layout(
            "MSMT17", _sets(train, train, test, test), _MSMT_NAME, _MSMT_EXAMPLE, lists=_MSMT_LISTS
        )
        for train, test in (("train", "test"), ("mask_train_v2", "mask_test_v2"))
    ),
)
"""All layouts. Those with the same folders are told apart by the names of their files."""


def _find_camera(name: str) -> str | None:
    matches = (layout.form.match(name) for layout in LAYOUTS if layout.form is not None)
    return next((str(int(match["camera"])) for match in matches if match), None)
