"""List the images that a CSV or Parquet file describes."""

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import get_args

import pyarrow as pa

from src.datamodules.components.layouts import ImageFile, SetName
from src.utils.tables import read_table, text_column

_SETS = get_args(SetName)
_FOREIGN = "is_gallery"  # a column of open-metric-learning alone
_BOX = ("x_1", "x_2", "y_1", "y_2")
_SPLITS = ("train", "validation")
_YES, _NO = {"true", "1"}, {"false", "0", "", None}


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
        ValueError: if a column is missing or holds something else, or an image is twice in a set.
    """
    if not file.is_file():
        raise FileNotFoundError(f"No listing at {file}")
    table = read_table(file)
    paths = text_column(table, "path", file).to_pylist()
    if _FOREIGN in table.column_names:
        identities, sets = text_column(table, "label", file), _foreign_sets(table, file)
    else:
        identities = text_column(table, "identity", file)
        sets = [text.split() for text in text_column(table, "set", file).to_pylist()]
    cameras = text_column(table, "camera", file, optional=True)
    listed: dict[SetName, list[ImageFile]] = {name: [] for name in _SETS}
    rows = zip(paths, identities.to_pylist(), cameras.to_pylist(), sets, strict=True)
    for row, (path, identity, camera, names) in enumerate(rows):
        for name in names:
            if name not in listed:
                raise ValueError(
                    f"{file} should name sets among {_SETS}, got {name!r} in row {row}"
                )
            listed[name].append(ImageFile(file.parent / path, identity, camera))
    for name, images in listed.items():
        _check_once(file, name, (image.path for image in images))
    return listed


def _foreign_sets(table: pa.Table, file: Path) -> list[list[str]]:
    for name in set(_BOX).intersection(table.column_names):
        if table[name].cast(pa.string()).fill_null("").unique().to_pylist() != [""]:
            raise ValueError(
                f"{file} should describe whole images, got boxes in `{name}`: cut them"
            )
    roles = [_truth(table, name, file) for name in ("is_gallery", "is_query")]
    sets = []
    for row, split in enumerate(text_column(table, "split", file).to_pylist()):
        if split not in _SPLITS:
            raise ValueError(f"{file} should have one of {_SPLITS} in `split`, got {split!r}")
        names = [n for n, is_in in zip(("reference", "query"), roles, strict=True) if is_in[row]]
        sets.append(["train"] if split == "train" else names)
    return sets


def _truth(table: pa.Table, name: str, file: Path) -> list[bool]:
    if name not in table.column_names:
        raise ValueError(f"{file} should have a column `{name}`, got none")
    texts = [text and text.lower() for text in table[name].cast(pa.string()).to_pylist()]
    odd = {text for text in texts if text not in _YES | _NO}
    if odd:
        raise ValueError(f"{file} should have true or false in `{name}`, got {min(odd)!r}")
    return [text in _YES for text in texts]


def _check_once(file: Path, name: str, paths: Iterable[Path]) -> None:
    seen: set[Path] = set()
    for path in paths:
        if path in seen:
            raise ValueError(f"{file} should have an image once in `{name}`, got {path} twice")
        seen.add(path)


def are_same(sets: Mapping[SetName, list[ImageFile]], file: Path) -> bool:
    """Tell whether each query is a reference, too, and the other way round.

    Raises:
        ValueError: if some are and others are not.
    """
    queries, references = ({image.path for image in sets[name]} for name in ("query", "reference"))
    common = queries & references
    if common and queries != references:
        raise ValueError(
            f"{file} should have all or none of its test images in both `reference` and `query`, "
            f"got {len(common)} of {len(queries | references)} in both, such as {min(common)}: a "
            "query must not find itself"
        )
    return bool(common)
