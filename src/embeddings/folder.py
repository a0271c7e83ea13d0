"""A folder of embeddings: those that an evaluation kept, or anybody's."""

import re
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple

from src.embeddings.array_source import ArraySource
from src.embeddings.manifest import MANIFEST_FILE, Manifest
from src.embeddings.parquet_source import ParquetSource
from src.embeddings.shards import sha256_of
from src.embeddings.stored_set import Source, StoredSet

EMBEDDINGS_FOLDER = "embeddings"
"""Name of the folder of kept embeddings, in the folder of their run."""

_SETS = ("reference", "query")
_THREADS = 4
_EXPECTED = (
    "expected `reference` and `query`, each as <set>.parquet, as several <set>-*.parquet, or as "
    "<set>.npy with <set>.csv or <set>.parquet beside it"
)


class EmbeddingFolder(NamedTuple):
    """What a folder of embeddings holds.

    Attributes:
        sets: by name; of a folder with one set alone, that.
        manifest: of embeddings that an evaluation kept; None of others.
    """

    sets: Mapping[str, StoredSet]
    manifest: Manifest | None


def open_folder(folder: Path) -> EmbeddingFolder:
    """Find the sets of a folder, and read who is on each image.

    Raises:
        FileNotFoundError: if there is no such folder, or no embeddings in it.
        ValueError: if something in it is not as it should be.
    """
    if not folder.is_dir():
        raise FileNotFoundError(f"No folder {folder}, which should hold embeddings: {_EXPECTED}")
    manifest = Manifest.read(folder) if (folder / MANIFEST_FILE).is_file() else None
    if manifest is not None:
        _check_complete(folder, manifest)
    sources = {name: _find(folder, name) for name in _SETS}
    sets = {name: StoredSet(name, source) for name, source in sources.items() if source}
    if not sets:
        sets = {"query": StoredSet("query", _only_source(folder))}
    _check_together(list(sets.values()))
    for name, count in manifest.counts.items() if manifest else ():
        if len(sets.get(name, ())) != count:
            raise ValueError(f"{folder} should hold {count:,} images of the set `{name}`")
    return EmbeddingFolder(sets, manifest)


def digest_files(folder: EmbeddingFolder) -> dict[str, str]:
    """Return the SHA-256 of every file, by name.

    Raises:
        ValueError: if one is not that of the manifest.
    """
    paths = sorted(path for each in folder.sets.values() for path in each.source.paths)
    with ThreadPoolExecutor(_THREADS) as pool:
        digests = dict(zip((path.name for path in paths), pool.map(sha256_of, paths), strict=True))
    if folder.manifest is not None and folder.manifest.content is not None:
        for path in paths:
            expected = folder.manifest.content.shards.get(path.name)
            if digests[path.name] != expected:
                raise ValueError(
                    f"{path} should have the SHA-256 {expected} of {MANIFEST_FILE}, got "
                    f"{digests[path.name]}: the file was changed or damaged; evaluate the images "
                    "again"
                )
    return digests


def _check_complete(folder: Path, manifest: Manifest) -> None:
    if manifest.content is None:
        raise ValueError(
            f"{folder} should hold the embeddings of all images, but the evaluation that kept them "
            f"was ended early: python eval.py resume={folder.parent} goes on with it"
        )
    missing = [name for name in manifest.content.shards if not (folder / name).is_file()]
    if missing:
        raise ValueError(f"{folder} should hold all files of its {MANIFEST_FILE}, lacks {missing}")


def _find(folder: Path, name: str) -> Source | None:
    """Find the files of a set."""
    array = folder / f"{name}.npy"
    if array.is_file():
        return ArraySource(array, _table_of(array))
    pattern = re.compile(rf"{name}([-_.].*)?\.parquet")
    paths = sorted(path for path in folder.iterdir() if pattern.fullmatch(path.name))
    return ParquetSource(paths) if paths else None


def _only_source(folder: Path) -> Source:
    """Find the one file, of any name, in a folder without sets."""
    kept = folder / EMBEDDINGS_FOLDER
    if (kept / MANIFEST_FILE).is_file():
        raise FileNotFoundError(
            f"No embeddings in {folder}, the folder of a run: they are in {kept}"
        )
    arrays, files = sorted(folder.glob("*.npy")), sorted(folder.glob("*.parquet"))
    if len(arrays) == 1:
        return ArraySource(arrays[0], _table_of(arrays[0]))
    if len(files) == 1 and not arrays:
        return ParquetSource(files)
    found = [path.name for path in [*arrays, *files]] or "none of them"
    raise FileNotFoundError(f"No embeddings in {folder}: {_EXPECTED}; got {found}")


def _table_of(array: Path) -> Path:
    tables = [array.with_suffix(suffix) for suffix in (".csv", ".parquet")]
    found = [path for path in tables if path.is_file()]
    if len(found) != 1:
        raise ValueError(
            f"{array} should have {tables[0].name} or {tables[1].name} beside it, which says who "
            f"is on each image, got {'both' if found else 'neither'}"
        )
    return found[0]


def _check_together(sets: list[StoredSet]) -> None:
    first, *others = sets
    for other in others:
        expected, found = ((each.source.width, each.source.dtype) for each in (first, other))
        if found != expected:
            raise ValueError(
                f"`{other.name}` should hold embeddings of width {expected[0]} in {expected[1]} as "
                f"`{first.name}` does, got width {found[0]} in {found[1]}"
            )
