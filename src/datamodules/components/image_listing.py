"""List the images of a data folder, in any of the layouts."""

import os
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from src.datamodules.components.layouts import (
    LAYOUTS,
    MARKET,
    PREPARED,
    ImageFile,
    Layout,
    SetName,
    parse,
)

_SUFFIXES = {".jpg", ".jpeg", ".jfif", ".png", ".bmp", ".webp", ".tif", ".tiff"}
_JUNK = "-1"
_DISTRACTOR = "0000"
_MARKED = {_JUNK: "junk images (identity -1)", _DISTRACTOR: "distractors (identity 0000)"}
_HIDDEN = "hidden files and folders"

NOT_IMAGES = "files and folders that are no images by their names"

LeftOut = dict[str, list[Path]]
"""What is in the folder of a set and not in the set, by the reason."""


class _Files(NamedTuple):
    images: list[Path]
    left_out: LeftOut


class Listing(NamedTuple):
    """The files of a set.

    Attributes:
        images: in the order in which `Sample.index` counts: by identity, file name and path.
        left_out: what else is in the set's folder.
    """

    images: list[ImageFile]
    left_out: LeftOut


def list_images(data_dir: str | Path, set_name: SetName, *, distractors: bool = False) -> Listing:
    """List a set's images, sorted by identity and file name.

    What is in `data_dir` tells which of the layouts it has. If a layout has no `val`, the first
    image of every identity of `train` is in `val`, and the others are in `train`.

    Images whose name marks them as Market's junk (identity -1) or distractors (0000) are left out.
    Only `reference` can keep its distractors.

    Args:
        data_dir: the folder with the layout's folders in it.
        set_name: "train", "val", "reference" or "query".
        distractors: whether `reference` keeps its distractors, as in published figures.

    Raises:
        FileNotFoundError: if `data_dir` is in no layout, or a folder or file is missing.
        ValueError: if it is in two layouts, the set is empty, there are no distractors to keep, or
            a name does not follow the layout.
    """
    data_dir = Path(data_dir)
    layout = _find_layout(data_dir)
    paths, left_out = _find_files(data_dir, layout, set_name)
    images = sorted((parse(path, layout) for path in paths), key=order)
    if layout.folders["val"] == layout.folders["train"] and layout.lists is None:
        images = hold_out(images, set_name)
    marks = {_JUNK, _DISTRACTOR}
    if distractors and set_name == "reference":
        marks.remove(_DISTRACTOR)
        if not any(_mark(image.path) == _DISTRACTOR for image in images):
            raise ValueError(
                f"{data_dir} should hold distractors (0000_c...) in `reference`, found none: "
                "evaluate with datamodule.distractors=false"
            )
    for mark in sorted(marks):
        left_out[_MARKED[mark]] = [each.path for each in images if _mark(each.path) == mark]
    images = [image for image in images if _mark(image.path) not in marks]
    if not images:
        raise ValueError(f"{data_dir} should hold images of the set `{set_name}`, found none")
    return Listing(images, {reason: sorted(paths) for reason, paths in left_out.items() if paths})


def hold_out(images: list[ImageFile], set_name: SetName) -> list[ImageFile]:
    """Divide the images of `train` between `train` and `val`; other sets stay as they are."""
    if set_name not in ("train", "val"):
        return images
    first: dict[str, ImageFile] = {}
    for image in images:
        first.setdefault(image.identity, image)
    held_out = set(first.values())
    return [image for image in images if (image in held_out) == (set_name == "val")]


def order(image: ImageFile) -> tuple[str, str, Path]:
    """Return what the images of a set are sorted by."""
    return image.identity, image.path.name, image.path


def _find_layout(data_dir: Path) -> Layout:
    found = [each for each in LAYOUTS if (data_dir / each.landmark).exists()]
    landmarks = sorted({each.landmark for each in found})
    if not found:
        raise FileNotFoundError(
            f"No data in {data_dir}: expected the folders `reference` and `query` with a folder "
            "for each identity, or those of "
            + ", ".join(dict.fromkeys(each.name for each in LAYOUTS[1:]))
        )
    if len(landmarks) > 1:
        raise ValueError(
            f"{data_dir} should be in one layout, but has `{landmarks[0]}` and `{landmarks[1]}`: "
            "move one of them away"
        )
    present = [each for each in found if (data_dir / each.folders["reference"]).is_dir()] or found
    if len(present) == 1:
        return present[0]
    first = min(_find_files(data_dir, present[0], "reference").images, default=Path())
    return next((each for each in present if each.match(first)), present[0])


def _find_files(data_dir: Path, layout: Layout, set_name: SetName) -> _Files:
    """Find the images of a set, and what else is in its folder."""
    folder = data_dir / layout.folders[set_name]
    if layout.lists is not None:
        return _Files(list(_read_list(data_dir / layout.lists[set_name], folder)), {})
    entries = list(_entries(folder))
    if layout is PREPARED:
        loose = [entry.path for entry in entries if _is_image(entry)]
        if loose:
            raise ValueError(f"{min(loose)} should be in a folder that is named after its identity")
        folders = {entry for entry in entries if entry.is_dir() and not _is_hidden(entry)}
        inner = [each for entry in folders for each in _entries(entry.path)]
        entries = [*(entry for entry in entries if entry not in folders), *inner]
    files = _Files([], {NOT_IMAGES: [], _HIDDEN: []})
    for entry in entries:
        if _is_image(entry):
            files.images.append(Path(entry.path))
        else:
            reason = _HIDDEN if _is_hidden(entry) else NOT_IMAGES
            files.left_out[reason].append(Path(entry.path))
    return files


def _entries(folder: str | Path) -> Iterator[os.DirEntry[str]]:
    """Return the files and folders in a folder."""
    if not Path(folder).is_dir():
        raise FileNotFoundError(f"No folder {folder}, which should hold images")
    with os.scandir(folder) as entries:
        for entry in entries:
            try:
                entry.name.encode()
            except UnicodeEncodeError as error:
                raise ValueError(f"{entry.path!a} should have a name in UTF-8") from error
            if not (entry.is_file() or entry.is_dir()):
                raise ValueError(f"{entry.path} should be a file or a folder, is its link broken?")
            yield entry


def _is_hidden(entry: os.DirEntry[str]) -> bool:
    return entry.name.startswith(".")


def _is_image(entry: os.DirEntry[str]) -> bool:
    is_named_so = os.path.splitext(entry.name)[1].lower() in _SUFFIXES
    return is_named_so and entry.is_file() and not _is_hidden(entry)


def _read_list(path: Path, folder: Path) -> Iterator[Path]:
    """Read the files that lines such as `0000/0000_000_01_0303morning_0008_0.jpg 0` name."""
    if not path.is_file():
        raise FileNotFoundError(f"No {path}, which should list images")
    return (folder / line.split()[0] for line in path.read_text().splitlines() if line.strip())


def _mark(path: Path) -> str | None:
    """Return the identity in a name that follows Market's naming."""
    match = MARKET.match(path)
    return match and match["identity"]
