"""List the images of a data folder, in either of the two layouts of Market-1501."""

import re
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Literal, NamedTuple

SetName = Literal["train", "val", "reference", "query"]

_SUFFIXES = {".jpg", ".jpeg", ".png"}
_OFFICIAL_FOLDERS = {
    "train": "bounding_box_train",
    "val": "bounding_box_train",
    "reference": "bounding_box_test",
    "query": "query",
}
# 0001_c1s1_001051_00.jpg: identity, camera, sequence, frame, box.
_OFFICIAL_NAME = re.compile(r"(?P<identity>-1|\d+)_c(?P<camera>\d+)s\d+_\d+_\d+")
_JUNK = "-1"
_DISTRACTOR = "0000"


class ImageFile(NamedTuple):
    """One image of a set.

    Attributes:
        path: the file.
        identity: the name of the person.
        camera: number of the camera, -1 if the file name does not say.
    """

    path: Path
    identity: str
    camera: int


def list_images(
    data_dir: str | Path, set_name: SetName, *, distractors: bool = False
) -> list[ImageFile]:
    """List a set's images, sorted by identity and file name.

    The folders in `data_dir` tell its layout:

    - prepared: `<set>/<identity>/*.jpg`;
    - official, as Market-1501 is published: `bounding_box_train`, `bounding_box_test` and `query`
      with the identity in the file name. Its `val` is the first image of every identity of
      `bounding_box_train`, its `train` the others.

    Images whose name marks them as junk (identity -1) or distractor (0000) are left out. Only
    `reference` can keep its distractors.

    Args:
        data_dir: the folder with the layout's folders in it.
        set_name: "train", "val", "reference" or "query".
        distractors: whether `reference` keeps its distractors, as in published figures.

    Raises:
        FileNotFoundError: if `data_dir` is in neither layout, or the set's folder is missing.
        ValueError: if it is in both layouts, the set is empty, there are no distractors to keep, or
            a name in the official layout does not follow Market's naming.
    """
    data_dir = Path(data_dir)
    if _is_official(data_dir):
        images = _list_official(data_dir, set_name)
    else:
        images = _list_prepared(data_dir / set_name)
    marks = {_JUNK, _DISTRACTOR}
    if distractors and set_name == "reference":
        marks.remove(_DISTRACTOR)
        images = list(images)
        if not any(_mark(image.path) == _DISTRACTOR for image in images):
            raise ValueError(
                f"{data_dir} should hold distractors (0000_c...) in `reference`, found none: "
                "evaluate with datamodule.distractors=false"
            )
    images = sorted(image for image in images if _mark(image.path) not in marks)
    if not images:
        raise ValueError(f"{data_dir} should hold images of the set `{set_name}`, found none")
    return images


def _is_official(data_dir: Path) -> bool:
    official = (data_dir / "bounding_box_test").is_dir()
    prepared = (data_dir / "reference").is_dir()
    if official and prepared:
        raise ValueError(
            f"{data_dir} should be in one layout, but has both `reference` (prepared) and "
            "`bounding_box_test` (official): move one of them away"
        )
    if not official and not prepared:
        raise FileNotFoundError(
            f"No Market-1501 data in {data_dir}: expected the folders `reference` and `query` "
            "(prepared layout) or `bounding_box_test` and `query` (official layout)"
        )
    return official


def _list_official(data_dir: Path, set_name: SetName) -> Iterable[ImageFile]:
    images = [
        _parse_official(path) for path in _image_paths(data_dir / _OFFICIAL_FOLDERS[set_name])
    ]
    if set_name not in ("train", "val"):
        return images
    first: dict[str, ImageFile] = {}
    for image in sorted(images):
        first.setdefault(image.identity, image)
    held_out = set(first.values())
    return [image for image in images if (image in held_out) == (set_name == "val")]


def _parse_official(path: Path) -> ImageFile:
    match = _OFFICIAL_NAME.match(path.name)
    if match is None:
        raise ValueError(
            f"{path} should be named like 0001_c1s1_001051_00.jpg (identity, camera, sequence, "
            "frame, box), as everything in the official layout of Market-1501"
        )
    return ImageFile(path, match["identity"], int(match["camera"]))


def _list_prepared(folder: Path) -> Iterator[ImageFile]:
    for identity in _entries(folder):
        if identity.is_dir():
            for path in _image_paths(identity):
                match = _OFFICIAL_NAME.match(path.name)
                yield ImageFile(path, identity.name, int(match["camera"]) if match else -1)


def _image_paths(folder: Path) -> Iterator[Path]:
    return (path for path in _entries(folder) if path.suffix.lower() in _SUFFIXES)


def _entries(folder: Path) -> Iterator[Path]:
    if not folder.is_dir():
        raise FileNotFoundError(f"No folder {folder}, which should hold images")
    return (path for path in folder.iterdir() if not path.name.startswith("."))


def _mark(path: Path) -> str | None:
    """Return the identity in a name that follows Market's naming."""
    match = _OFFICIAL_NAME.match(path.name)
    return match and match["identity"]
