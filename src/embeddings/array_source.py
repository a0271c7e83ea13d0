"""Embeddings in a NumPy file, described by a table beside it."""

from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import torch

from src.utils.tables import read_table

_DTYPES = {"float16": torch.float16, "float32": torch.float32, "float64": torch.float64}


class ArraySource:
    """The embeddings of a set as the rows of an array, each described by a row of a table.

    Args:
        array: a `.npy` file [N, D].
        table: a CSV or Parquet file of N rows.

    Attributes:
        paths: both files.
        width: of the embeddings.
        dtype: of the embeddings.

    Raises:
        ValueError: if the array is damaged, or of another shape or dtype.
    """

    def __init__(self, array: Path, table: Path) -> None:
        self.paths: Sequence[Path] = (array, table)
        try:
            self._array = np.load(array, mmap_mode="r", allow_pickle=False)
        except Exception as error:  # a damaged header can make the reader stumble anywhere
            raise ValueError(f"{array} is no NumPy file, or a damaged one: {error}") from error
        if self._array.ndim != 2 or self._array.shape[1] == 0:
            raise ValueError(f"{array} should have shape [N, D], got {list(self._array.shape)}")
        if self._array.dtype.name not in _DTYPES or not self._array.dtype.isnative:
            raise ValueError(
                f"{array} should hold float16, float32 or float64 in the byte order of this "
                f"machine, got {self._array.dtype}"
            )
        self.width = self._array.shape[1]
        self.dtype = _DTYPES[self._array.dtype.name]

    def __len__(self) -> int:
        return len(self._array)

    def columns(self, names: Sequence[str]) -> pa.Table:
        """Read those of the columns that there are, of all rows.

        Raises:
            ValueError: if the table cannot be read, or has another number of rows than the array.
        """
        array, path = self.paths
        table = read_table(path)
        if len(table) != len(self):
            raise ValueError(
                f"{path} should have {len(self):,} rows as {array.name} has, got {len(table):,}"
            )
        return table.select([name for name in names if name in table.column_names])

    def blocks(self, first: int, last: int, rows: int) -> Iterator[npt.NDArray[np.floating]]:
        """Read the embeddings of rows `first` to `last - 1`, in order, as arrays [B, D].

        Args:
            first: row.
            last: row.
            rows: of a block, at most.
        """
        for start in range(first, last, rows):
            yield np.array(self._array[start : min(start + rows, last)])
