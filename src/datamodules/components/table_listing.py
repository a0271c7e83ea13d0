"""List the images that a CSV or Parquet file describes."""

from pathlib import Path
from typing import get_args

import pyarrow as pa

from src.datamodules.components.layouts import ImageFile, SetName
from src.utils.tables import read_table, text_column

_SETS: tuple[SetName, ...] = get_args(SetName)
_BOX = {"x_1", "x_2", "y_1", "y_2"}
_TRUE = {"true", "1"}
_FLAGS = {*_TRUE, "false", "0", ""}


def read_sets(file: Path) -> dict[SetName, list[ImageFile]]:
    """Read which images are in which set.

    Columns, each with text (integers become text):

    - path: of the image, relative to the file's folder, or absolute;
    - identity: who or what is on it;
    - set: train, val, reference or query; several with blanks between them, or in several rows;
    - camera: if it is known.

    Those of open-metric-learning serve as well: label instead of identity, and instead of set split
    (train, validation), is_query and is_gallery.

    Raises:
        FileNotFoundError: if there is no such file.
        ValueError: if a column is missing or holds something else, an image is twice in a set, or
            some images but not all are in both `reference` and `query`.
    """
    if not file.is_file():
        raise FileNotFoundError(f"No listing at {file}")
    table = read_table(file)
    is_foreign = "is_gallery" in table.column_names
    columns = (
        _foreign_sets(table, file) if is_foreign else text_column(table, "set", file),
        text_column(table, "path", file),
        text_column(table, "label" if is_foreign else "identity", file),
        text_column(table, "camera", file, optional=True),
    )
    sets: dict[SetName, dict[Path, ImageFile]] = {name: {} for name in _SETS}
    for names, place, *who in zip(*(column.to_pylist() for column in columns), strict=True):
        path = file.parent / place
        for name in names.split():
            if name not in sets:
                raise ValueError(f"{file} should name sets among {_SETS}, got {name!r} for {path}")
            if path in sets[name]:
                raise ValueError(f"{file} should have an image once in `{name}`, got {path} twice")
            sets[name][path] = ImageFile(path, *who)
    common = sets["query"].keys() & sets["reference"].keys()
    if common and not len(common) == len(sets["query"]) == len(sets["reference"]):
        raise ValueError(
            f"{file} should have all or none of its test images in both `reference` and `query`, "
            f"got {len(common)} in both, such as {min(common)}: a query must not find itself"
        )
    return {name: list(images.values()) for name, images in sets.items()}


def _foreign_sets(table: pa.Table, file: Path) -> pa.Array:
    """Return the names of the sets of each row, with blanks between them."""

    def texts(name: str) -> list[str]:
        return [text or "" for text in table[name].cast(pa.string()).to_pylist()]

    missing = {"split", "is_query"}.difference(table.column_names)
    if missing or any(any(texts(name)) for name in _BOX.intersection(table.column_names)):
        raise ValueError(
            f"{file} should describe whole images by label, path, split, is_query and is_gallery, "
            + (f"got none of {sorted(missing)}" if missing else "got boxes: cut them out")
        )
    sets = []
    for split, *flags in zip(*map(texts, ("split", "is_query", "is_gallery")), strict=True):
        if split not in ("train", "validation") or not set(map(str.lower, flags)) <= _FLAGS:
            raise ValueError(
                f"{file} should have train or validation in `split`, and true or false in "
                f"`is_query` and `is_gallery`, got {split!r} and {flags}"
            )
        roles = zip(("query", "reference"), flags, strict=True)
        names = " ".join(name for name, flag in roles if flag.lower() in _TRUE)
        sets.append("train" if split == "train" else names)
    return pa.array(sets)
