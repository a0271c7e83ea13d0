"""The same command gives the same files, whatever it is divided into."""

import re
from pathlib import Path

import pandas as pd
import pytest

from src.eval import evaluate
from tests.conftest import ComposeConfig

_TIMES = re.compile(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d \w+|<dd>[\d.]+ s</dd>")


def run(eval_config: ComposeConfig, folder: Path, *options: str) -> Path:
    """Evaluate with all files, and return the folder under another name."""
    evaluate(eval_config("callbacks=default", "logger=none", *options))
    return (folder / "run").rename(folder / f"run_{len(list(folder.glob('run_*')))}")


def test_twice(eval_config: ComposeConfig, tmp_path: Path) -> None:
    first, second = (run(eval_config, tmp_path) for _ in range(2))
    files = sorted(path.relative_to(first) for path in first.rglob("*") if path.is_file())
    assert files == sorted(path.relative_to(second) for path in second.rglob("*") if path.is_file())
    assert {path.parts[0] for path in files} == {
        *("embeddings", "pictures"),
        *("predictions.parquet", "report.html", "result.json"),
    }
    for file in files:
        if file.suffix == ".html":
            pages = (_TIMES.sub("", (folder / file).read_text()) for folder in (first, second))
            assert next(pages) == next(pages)
        else:
            assert (first / file).read_bytes() == (second / file).read_bytes(), file


@pytest.mark.parametrize(
    ("option", "columns"),
    [
        ("datamodule.num_workers=1", None),
        # Sums over batches of another size are rounded otherwise, and ranks far down may change.
        ("datamodule.batch_size=3", ["path", "nearest_path", "correct"]),
    ],
)
def test_batches_and_workers(
    eval_config: ComposeConfig, tmp_path: Path, option: str, columns: list[str] | None
) -> None:
    report = ["analysis.pictures=false", "embeddings.keep=false"]
    folders = [run(eval_config, tmp_path, *report, *given) for given in ([], [option])]
    tables = [pd.read_parquet(folder / "predictions.parquet") for folder in folders]
    pd.testing.assert_frame_equal(*(table[columns or list(table)] for table in tables))
