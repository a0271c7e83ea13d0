"""One set of embeddings in files: who is on each image, and a way to read them batch by batch."""

import hashlib
from collections.abc import Iterator, Sequence
from functools import cached_property
from pathlib import Path
from typing import NamedTuple, Protocol

import numpy as np
import numpy.typing as npt
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
import torch
from torch import Tensor

from src.utils.tables import describe_images, text_column

_COLUMNS = ("identity", "camera", "path", "index")
_READ_BYTES = 4 * 2**20  # embeddings that are read at once
# Embeddings that are put together. The C library of Linux returns memory to the system at once if
# it was asked for more than 32 MiB.
_BLOCK_BYTES = 36 * 2**20
_DIGEST_ROWS = 2**16


class Source(Protocol):
    """Where the embeddings of a set are."""

    paths: Sequence[Path]
    width: int
    dtype: torch.dtype

    def __len__(self) -> int: ...

    def columns(self, names: Sequence[str]) -> pa.Table:
        """Read those of the columns that there are, of all rows."""

    def blocks(self, first: int, last: int, rows: int) -> Iterator[npt.NDArray[np.floating]]:
        """Read the embeddings of rows `first` to `last - 1`, in order, as arrays [B, D]."""


class EmbeddedRows(NamedTuple):
    """Some rows of a set, one after another in its files.

    Attributes:
        rows: which ones.
        embedding: [B, D].
    """

    rows: slice
    embedding: Tensor


class StoredSet:
    """The queries or the references, as files hold them.

    Args:
        name: "reference" or "query".
        source: where they are.

    Attributes:
        name: likewise.
        source: likewise.
        identity: text [N] in the order of the files.
        camera: likewise; null where unknown.
        index: int64 [N], position of each row in the set: that among the column `index` if there is
            one, and otherwise in the files.

    Raises:
        ValueError: if the set is empty, lacks identities, or has a column of another kind.
    """

    def __init__(self, name: str, source: Source) -> None:
        self.name, self.source = name, source
        if len(source) == 0:
            raise ValueError(f"{_files(source)} should hold at least one embedding, got none")
        table = source.columns(_COLUMNS)
        self.index = _positions(table, source)
        self.identity = text_column(table, "identity", _files(source))
        self.camera = text_column(table, "camera", _files(source), optional=True)
        has_path = "path" in table.column_names
        self._path = text_column(table, "path", _files(source)) if has_path else None
        self._is_ordered = bool((np.diff(self.index) > 0).all())

    def __len__(self) -> int:
        return len(self.source)

    @cached_property
    def identities(self) -> set[str]:
        """Names of the identities that occur."""
        return set(pc.unique(self.identity).to_pylist())

    @cached_property
    def cameras(self) -> set[str]:
        """Names of the cameras that occur."""
        return set(pc.unique(self.camera).drop_null().to_pylist())

    def table(self) -> pd.DataFrame:
        """Describe all images, in the order of `index`.

        Returns:
            Columns path (str; `<set>/<index>` where the files do not say), identity (str), camera
            (null where unknown; Int64, or str where a name is no integer).
        """
        return describe_images(*self._columns())

    def blocks(self, first: int, last: int) -> Iterator[EmbeddedRows]:
        """Read the embeddings of rows `first` to `last - 1` of the files, in order.

        Raises:
            ValueError: if one is missing, not finite or of another width.
        """
        row_bytes = self.source.width * self.source.dtype.itemsize
        length = max(1, _READ_BYTES // row_bytes)

        def make_room() -> Tensor:
            rows = max(length, _BLOCK_BYTES // row_bytes)
            return torch.empty((rows, self.source.width), dtype=self.source.dtype)

        room, filled = make_room(), 0
        for array in self.source.blocks(first, last, length):
            if filled + len(array) > len(room):
                yield EmbeddedRows(slice(first, first + filled), room[:filled])
                room, first, filled = make_room(), first + filled, 0
            embedding = torch.tensor(array, dtype=self.source.dtype)
            if not embedding.sum(dim=1).isfinite().all():  # or the sum of finite numbers overflows
                self._check_finite(embedding, first + filled)
            room[filled : filled + len(array)] = embedding
            filled += len(array)
        if filled:
            yield EmbeddedRows(slice(first, first + filled), room[:filled])

    def _check_finite(self, embedding: Tensor, first: int) -> None:
        finite = embedding.isfinite().all(dim=1)
        if not finite.all():
            row = first + int((~finite).nonzero()[0])
            raise ValueError(
                f"{_files(self.source)} should hold finite numbers, got NaN or infinity in row "
                f"{row}, of identity {self.identity[row]}"
            )

    def update(self, digest: "hashlib._Hash") -> None:
        """Add what is known of the images, but for their embeddings, to a digest."""
        digest.update(f"{self.name} {len(self)}".encode())
        for column in self._columns():
            for start in range(0, len(column), _DIGEST_ROWS):
                texts = column[start : start + _DIGEST_ROWS].fill_null("").to_pylist()
                digest.update("".join(f"\0{text}" for text in texts).encode())

    def _columns(self) -> tuple[pa.Array, pa.Array, pa.Array]:
        """Return path, identity and camera in the order of `index`."""
        path = self._path
        if path is None:
            path = pc.binary_join_element_wise(
                self.name, pa.array(self.index).cast(pa.string()), "/"
            )
        columns = (path, self.identity, self.camera)
        if self._is_ordered:
            return columns
        order = pa.array(np.argsort(self.index))
        path, identity, camera = (column.take(order) for column in columns)
        return path, identity, camera


def number(names: pa.Array, among: Sequence[str]) -> Tensor:
    """Number texts by their place among others; -1 for null."""
    place = pc.index_in(names, pa.array(among, pa.string())).fill_null(-1)
    return torch.from_numpy(place.to_numpy().astype(np.int64))


def _files(source: Source) -> str:
    first = source.paths[0]
    return str(first if len(source.paths) == 1 else f"{first.parent}/{first.name}, ...")


def _positions(table: pa.Table, source: Source) -> npt.NDArray[np.int64]:
    """Return the place of each row when they are sorted by the column `index`."""
    rows = np.arange(len(table))
    if "index" not in table.column_names:
        return rows
    column = table["index"]
    if pa.types.is_string(column.type):  # of a CSV file
        try:
            column = pc.utf8_trim_whitespace(column).cast(pa.int64())
        except pa.ArrowInvalid as error:
            raise ValueError(
                f"{_files(source)} should have integers in `index`: {error}"
            ) from error
    if not pa.types.is_integer(column.type) or column.null_count:
        raise ValueError(f"{_files(source)} should have integers in `index`, got {column.type}")
    indices = column.to_numpy()
    order = indices.argsort(kind="stable")
    repeated = np.flatnonzero(np.diff(indices[order]) == 0)
    if len(repeated):
        raise ValueError(
            f"{_files(source)} should have another `index` in every row, got "
            f"{indices[order][repeated[0]]} twice"
        )
    positions = np.empty_like(rows)
    positions[order] = rows
    return positions
