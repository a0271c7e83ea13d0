"""Tables in files: CSV, whose values are text, and Parquet."""

import re
from pathlib import Path

import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv
import pyarrow.parquet as pq

_INTEGER = re.compile(r"0|-?[1-9]\d{0,17}")


def read_table(path: Path) -> pa.Table:
    """Read a file whose name ends in `.csv` or `.parquet`. Of CSV, `7` and `07` stay two.

    Raises:
        ValueError: if it is neither, or damaged.
    """
    suffix = path.suffix.lower()
    if suffix not in (".csv", ".parquet"):
        raise ValueError(f"{path} should be a .csv or .parquet file")
    try:
        return _read_csv(path) if suffix == ".csv" else pq.read_table(path)
    except (pa.ArrowException, OSError) as error:
        raise ValueError(f"{path} is no table, or a damaged one: {error}") from error


def text_column(table: pa.Table, name: str, source: object, *, optional: bool = False) -> pa.Array:
    """Return a column as text; integers are written in decimals, and empty texts are missing.

    Args:
        table: which has the column, or lacks it.
        name: of the column.
        source: what errors name as the origin of the table.
        optional: whether values may be missing, or the whole column.

    Raises:
        ValueError: if it holds something else, or lacks a value.
    """
    if name not in table.column_names:
        if not optional:
            raise ValueError(f"{source} should have a column `{name}`, got none")
        return pa.nulls(len(table), pa.string())
    column = table[name]
    try:
        if pa.types.is_floating(column.type):  # pandas makes them of integers if some are missing
            column = column.cast(pa.int64())
        if pa.types.is_boolean(column.type) or pa.types.is_temporal(column.type):
            raise pa.ArrowInvalid("neither text nor integers")
        texts = column.cast(pa.string()).combine_chunks()
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError) as error:
        raise ValueError(
            f"{source} should have text or integers in `{name}`, got {column.type}: {error}"
        ) from error
    texts = pc.if_else(pc.equal(texts, ""), None, texts)
    if texts.null_count and not optional:
        row = texts.is_null().index(True).as_py()
        raise ValueError(f"{source} should have `{name}` in every row, got none in {row}")
    return texts


def describe_images(path: pa.Array, identity: pa.Array, camera: pa.Array) -> pd.DataFrame:
    """Return columns of text as a table, with integers for cameras if all are named by integers."""
    cameras = camera.to_pandas()
    if all(map(_INTEGER.fullmatch, cameras.dropna().unique())):
        cameras = cameras.astype("Int64")
    columns = {"path": path.to_pandas(), "identity": identity.to_pandas(), "camera": cameras}
    return pd.DataFrame(columns)


def _read_csv(path: Path) -> pa.Table:
    with pyarrow.csv.open_csv(path) as reader:
        names = reader.schema.names
    texts = pyarrow.csv.ConvertOptions(
        column_types=dict.fromkeys(names, pa.string()), strings_can_be_null=False
    )
    return pyarrow.csv.read_csv(path, convert_options=texts)
