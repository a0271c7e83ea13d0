"""Time and peak memory of evaluating embeddings in files: python -m benchmarks.embeddings --help.

Embeddings are drawn around one centre per identity and written to Parquet files. Another process
then evaluates them as `python eval.py datamodule=embeddings` does, without pictures.
"""

import argparse
import subprocess
import sys
import tempfile
import time
from collections import defaultdict
from functools import wraps
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from hydra import compose, initialize
from pytorch_lightning import Trainer
from rich.console import Console
from rich.progress import track
from rich.table import Table

from benchmarks.memory import resident_bytes
from src import eval as task
from src.datamodules.embedding_datamodule import EmbeddingDataModule
from src.exact_retrieval import EmbeddingRetrieval
from src.exact_retrieval.retrieval import retrieval

_ROWS = 2**16  # of a row group
_CAMERAS = 6
_MIB = 2**20


def main() -> None:
    """Write the files, and evaluate them in a fresh process."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--queries", type=int, default=20_000)
    parser.add_argument("--references", type=int, default=1_000_000)
    parser.add_argument("--width", type=int, default=128)
    parser.add_argument("--dtype", choices=["float16", "float32", "float64"], default="float32")
    parser.add_argument("--identities", type=int, default=20_000)
    parser.add_argument("--noise", type=float, default=2.2, help="of a coordinate; centres have 1")
    parser.add_argument("--evaluate", type=Path, help="evaluate this folder in this process")
    arguments = parser.parse_args()
    if arguments.evaluate is not None:
        _evaluate(arguments.evaluate)
        return
    with tempfile.TemporaryDirectory() as folder:
        for name, rows in (("reference", arguments.references), ("query", arguments.queries)):
            _write(Path(folder, f"{name}.parquet"), rows, arguments)
        command = [sys.executable, "-m", "benchmarks.embeddings", "--evaluate", folder]
        subprocess.run(command, check=True)


def _write(path: Path, rows: int, arguments: argparse.Namespace) -> None:
    """Write a set, a row group at a time."""
    centres = np.random.default_rng(0).standard_normal((arguments.identities, arguments.width))
    generator = np.random.default_rng(rows)
    schema = pa.schema(
        {
            "identity": pa.int64(),
            "camera": pa.int64(),
            "embedding": pa.list_(pa.from_numpy_dtype(np.dtype(arguments.dtype)), arguments.width),
        }
    )
    with pq.ParquetWriter(path, schema, use_dictionary=["identity", "camera"]) as writer:
        for start in track(range(0, rows, _ROWS), f"writing {rows:,} rows"):
            count = min(_ROWS, rows - start)
            people = generator.integers(0, arguments.identities, count)
            noise = generator.standard_normal((count, arguments.width)) * arguments.noise
            values = (centres[people] + noise).astype(arguments.dtype)
            columns = [
                pa.array(people),
                pa.array(generator.integers(0, _CAMERAS, count)),
                pa.FixedSizeListArray.from_arrays(values.ravel(), arguments.width),
            ]
            writer.write_table(pa.table(columns, schema))


def _evaluate(folder: Path) -> None:
    """Evaluate a folder, and print how long each step took."""
    seconds: dict[str, float] = defaultdict(float)
    peaks: dict[str, float] = {}

    def time_calls(step: str, owner: Any, name: str) -> None:
        function = getattr(owner, name)

        @wraps(function)
        def timed(*arguments: Any, **options: Any) -> Any:
            start = time.perf_counter()
            result = function(*arguments, **options)
            seconds[step] += time.perf_counter() - start
            peaks[step] = resident_bytes("VmHWM")
            return result

        setattr(owner, name, timed)

    time_calls("names and SHA-256", EmbeddingDataModule, "setup")
    time_calls("embeddings", Trainer, "test")  # what follows in it is subtracted below
    time_calls("retrieval", EmbeddingRetrieval, "compute")
    time_calls("search by euclidean", retrieval, "find_nearest")
    time_calls("neighbours, ranks and histogram", retrieval, "rank_references")
    time_calls("thresholds", retrieval, "verify")
    time_calls("predictions and intervals", task, "_summarise")
    time_calls("files", task, "_write_report")
    time_calls("all of it", task, "evaluate")
    before = resident_bytes("VmHWM")
    with tempfile.TemporaryDirectory() as output, initialize("../configs", version_base="1.3"):
        options = ["datamodule=embeddings", f"datamodule.data_dir={folder}", "logger=none"]
        options += ["analysis.pictures=false", f"paths.output_dir={output}"]
        task.evaluate(compose("eval.yaml", overrides=options))
    seconds["embeddings"] -= seconds.pop("retrieval")
    table = Table("step", "seconds", "peak memory since the start, MiB")
    for step, duration in seconds.items():
        table.add_row(step, f"{duration:.1f}", f"{peaks[step] / _MIB:,.0f}")
    Console().print(table)
    files = sum(path.stat().st_size for path in folder.iterdir())
    peak = resident_bytes("VmHWM")
    Console().print(
        f"Files of {files / _MIB:,.0f} MiB; peak memory {peak / _MIB:,.0f} MiB, of which "
        f"{before / _MIB:,.0f} MiB before the start"
    )


if __name__ == "__main__":
    main()
