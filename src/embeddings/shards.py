"""The Parquet files of kept embeddings, and the record of which of them are whole.

Every process writes its own shards. It appends the SHA-256 of each to its own record, in the format
of `sha256sum`. So a killed evaluation leaves shards that can be verified, and at most one for each
process that cannot.
"""

import hashlib
import os
import re
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import torch
from torch import Tensor

from src.embeddings.manifest import write_atomically

DTYPE_KEY = b"dtype"
"""Names torch's dtype of the embeddings in the metadata of a shard."""

_LINE = re.compile(r"([0-9a-f]{64})  ((reference|query)-(\d{5,})\.parquet)")


class Shard(NamedTuple):
    """A file of kept embeddings.

    Attributes:
        set_name: "reference" or "query".
        number: among the shards of its set; shards of process r of n have r modulo n.
    """

    set_name: str
    number: int

    @property
    def file_name(self) -> str:
        """Of the file."""
        return f"{self.set_name}-{self.number:05}.parquet"


def record_file(rank: int) -> str:
    """Name the record of a process."""
    return f"process-{rank}.sha256"


def write_shard(
    folder: Path, shard: Shard, rank: int, index: Tensor, embeddings: Tensor, table: pd.DataFrame
) -> None:
    """Write a shard, and then the line of the record that vouches for it.

    Args:
        folder: of the kept embeddings.
        shard: which one.
        rank: of this process.
        index: int64 [N], positions in the set.
        embeddings: floating [N, D]; bfloat16, which Parquet lacks, is written as float32.
        table: the set, as `RetrievalSet.table` describes it.
    """
    rows, width, dtype = table.iloc[index.tolist()], embeddings.shape[1], embeddings.dtype
    values = embeddings.float() if dtype == torch.bfloat16 else embeddings
    columns = {
        "index": pa.array(index.tolist(), pa.int64()),
        **{name: pa.array(rows[name]).cast(pa.string()) for name in ("path", "identity", "camera")},
        "embedding": pa.FixedSizeListArray.from_arrays(values.cpu().numpy().ravel(), width),
    }
    shard_table = pa.table(columns, metadata={DTYPE_KEY: str(dtype).removeprefix("torch.")})
    sink = pa.BufferOutputStream()
    pq.write_table(shard_table, sink, use_dictionary=["identity", "camera"])
    content = memoryview(sink.getvalue())
    write_atomically(folder / shard.file_name, content)
    _vouch(folder, rank, hashlib.sha256(content).hexdigest(), shard)


def take_over(source: Path, folder: Path, rank: int) -> Iterator[tuple[Shard, Tensor, Tensor]]:
    """Take those shards of a process that are whole from another folder, or the same one.

    Yields:
        Each shard, the positions int64 [N] in its set, and the embeddings [N, D].
    """
    shards = read_record(source, rank)
    for shard, digest in shards.items():
        path, own = source / shard.file_name, folder / shard.file_name
        if not path.is_file() or sha256_of(path) != digest:
            continue
        if source.resolve() != folder.resolve():
            _link(path, own)
            _vouch(folder, rank, digest, shard)
        rows = pq.read_table(own, columns=["index", "embedding"])
        dtype = getattr(torch, rows.schema.metadata[DTYPE_KEY].decode())
        index = torch.tensor(rows["index"].to_numpy())
        values = rows["embedding"].combine_chunks().flatten().to_numpy(zero_copy_only=False)
        yield shard, index, torch.tensor(values, dtype=dtype).view(len(index), -1)


def read_record(folder: Path, rank: int) -> dict[Shard, str]:
    """Read the SHA-256 of every shard that a process has finished."""
    path = folder / record_file(rank)
    lines = path.read_text().splitlines() if path.is_file() else []
    # A line that was cut off vouches for nothing.
    matches = (match for match in map(_LINE.fullmatch, lines) if match)
    return {Shard(match[3], int(match[4])): match[1] for match in matches}


def sha256_of(path: Path) -> str:
    """Return the hexadecimal SHA-256 of a file."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _vouch(folder: Path, rank: int, digest: str, shard: Shard) -> None:
    with (folder / record_file(rank)).open("a") as file:
        file.write(f"{digest}  {shard.file_name}\n")
        file.flush()
        os.fsync(file.fileno())


def _link(source: Path, target: Path) -> None:
    """Give a file a second name, or copy it where the file system cannot."""
    try:
        os.link(source, target)
    except OSError:
        shutil.copyfile(source, target)
