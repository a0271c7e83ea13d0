"""Embeddings in Parquet files."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import cached_property
from itertools import accumulate, pairwise
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq
import torch

from src.embeddings.shards import DTYPE_KEY

_EMBEDDING = "embedding"
_FLOATS = {
    pa.float16(): torch.float16,
    pa.float32(): torch.float32,
    pa.float64(): torch.float64,
}
_BUFFER_BYTES = 2**20


class ParquetSource:
    """The embeddings of a set in one or several Parquet files, one after another.

    Args:
        paths: of the files, at least one.

    Attributes:
        paths: likewise.
        width: of the embeddings.
        dtype: of the embeddings.

    Raises:
        ValueError: if a file is damaged, lacks the column `embedding`, or has embeddings of
            another kind, dtype or width.
    """

    def __init__(self, paths: Sequence[Path]) -> None:
        self.paths = paths
        self._files = [_open(path) for path in self.paths]
        dtypes = [_dtype(*each) for each in zip(self.paths, self._files, strict=True)]
        widths = [_width(*each) for each in zip(self.paths, self._files, strict=True)]
        filled = [place for place, width in enumerate(widths) if width is not None]
        self.dtype = dtypes[filled[0] if filled else 0]
        self.width = widths[filled[0]] or 0 if filled else 0
        for place in filled:
            found = (widths[place], dtypes[place])
            if found != (self.width, self.dtype):
                raise ValueError(
                    f"{self.paths[place]} should hold embeddings of width {self.width} in "
                    f"{self.dtype} as {self.paths[filled[0]].name} does, got {found[0]} in "
                    f"{found[1]}"
                )

    def __len__(self) -> int:
        return self._starts[-1]

    def columns(self, names: Sequence[str]) -> pa.Table:
        """Read those of the columns that there are, of all rows.

        Raises:
            ValueError: if only some of the files have a column, or they disagree on its type.
        """
        tables = []
        for path, file in zip(self.paths, self._files, strict=True):
            there = [name for name in names if name in file.schema_arrow.names]
            with _reading(path):
                tables.append(file.read(columns=there).replace_schema_metadata())
            if there != tables[0].column_names:
                raise ValueError(
                    f"{self.paths[len(tables) - 1]} should have the columns "
                    f"{tables[0].column_names} as {self.paths[0].name} has, got {there}"
                )
        try:
            return pa.concat_tables(tables, promote_options="permissive")
        except pa.ArrowException as error:
            raise ValueError(
                f"{self.paths[0]} and others should have columns of the same types: {error}"
            ) from error

    def blocks(self, first: int, last: int, rows: int) -> Iterator[npt.NDArray[np.floating]]:
        """Read the embeddings of rows `first` to `last - 1`, in order, as arrays [B, D].

        Args:
            first: row.
            last: row.
            rows: of a block, at most.

        Raises:
            ValueError: if an embedding is missing or of another width.
        """
        for path, file, (start, end) in zip(
            self.paths, self._files, pairwise(self._starts), strict=True
        ):
            if start < last and first < end:
                for row, block in _read(path, file, first - start, last - start, rows):
                    yield _as_array(path, row, block, self.width)

    @cached_property
    def _starts(self) -> list[int]:
        lengths = (file.metadata.num_rows for file in self._files)
        return list(accumulate(lengths, initial=0))


@contextmanager
def _reading(path: Path) -> Iterator[None]:
    try:
        yield
    except (pa.ArrowException, OSError, StopIteration) as error:
        raise ValueError(f"{path} is no Parquet file, or a damaged one: {error}") from error


def _open(path: Path) -> pq.ParquetFile:
    with _reading(path):  # buffered, so that a row group, maybe the whole file, is not read at once
        file = pq.ParquetFile(path, pre_buffer=False, buffer_size=_BUFFER_BYTES)
        groups = (file.metadata.row_group(group) for group in range(file.num_row_groups))
        rows = sum(group.num_rows for group in groups)
        if rows != file.metadata.num_rows:
            raise pa.ArrowInvalid(f"it should have {file.metadata.num_rows} rows, got {rows}")
    return file


def _dtype(path: Path, file: pq.ParquetFile) -> torch.dtype:
    schema = file.schema_arrow
    if _EMBEDDING not in schema.names:
        raise ValueError(f"{path} should have a column `{_EMBEDDING}`, got {schema.names}")
    kind = schema.field(_EMBEDDING).type
    values = getattr(kind, "value_type", None)
    if values not in _FLOATS or pa.types.is_dictionary(kind):
        raise ValueError(
            f"{path} should have lists of float16, float32 or float64 in `{_EMBEDDING}`, got {kind}"
        )
    kept = (schema.metadata or {}).get(DTYPE_KEY)
    return _FLOATS[values] if kept is None else getattr(torch, kept.decode())


def _width(path: Path, file: pq.ParquetFile) -> int | None:
    """Return the width of the first embedding; None of a file without rows."""
    kind = file.schema_arrow.field(_EMBEDDING).type
    if file.metadata.num_rows == 0:
        return None
    if pa.types.is_fixed_size_list(kind):
        width = kind.list_size
    else:
        with _reading(path):
            first = next(file.iter_batches(1, columns=[_EMBEDDING])).column(0)
        width = len(first[0]) if first[0].is_valid else 0
    if width == 0:
        raise ValueError(f"{path} should hold embeddings, got an empty one in row 0")
    return int(width)


def _read(
    path: Path, file: pq.ParquetFile, first: int, last: int, rows: int
) -> Iterator[tuple[int, pa.Array]]:
    """Read rows of one file; yield the first row of each block, and the block."""
    groups = [file.metadata.row_group(group).num_rows for group in range(file.num_row_groups)]
    starts = list(accumulate(groups, initial=0))
    needed = [
        group for group, (start, end) in enumerate(pairwise(starts)) if start < last and first < end
    ]
    row = starts[needed[0]] if needed else 0
    with _reading(path):
        for batch in file.iter_batches(rows, row_groups=needed, columns=[_EMBEDDING]):
            low, high = max(first - row, 0), min(last - row, len(batch))
            if low < high:
                yield row + low, batch.column(0)[low:high]
            row += len(batch)


def _as_array(path: Path, row: int, block: pa.Array, width: int) -> npt.NDArray[np.floating]:
    if block.null_count:
        missing = row + block.is_null().index(True).as_py()
        raise ValueError(f"{path} should have an embedding in every row, got none in row {missing}")
    if not pa.types.is_fixed_size_list(block.type):
        lengths = block.value_lengths().to_numpy()
        if (lengths != width).any():
            other = int((lengths != width).argmax())
            raise ValueError(
                f"{path} should hold embeddings of width {width}, got one of width "
                f"{lengths[other]} in row {row + other}"
            )
    values: npt.NDArray[np.floating]
    values = block.flatten().to_numpy(zero_copy_only=False)  # a missing number becomes NaN
    return values.reshape(-1, width)
