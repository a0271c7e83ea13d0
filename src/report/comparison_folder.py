"""The files of a comparison in the folder of its run."""

import json
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path

import pandas as pd

from src.report.comparison import Comparison
from src.report.evaluated_run import EvaluatedRun

COMPARISON_FILE = "comparison.json"
QUERIES_FILE = "comparison.parquet"
PAGE_FILE = "comparison.html"


def write_comparison(
    output_dir: str | Path,
    comparison: Comparison,
    queries: pd.DataFrame,
    runs: Mapping[str, EvaluatedRun],
) -> list[Path]:
    """Write `comparison.json`, the numbers, and `comparison.parquet`, a row for each query.

    Args:
        output_dir: made where it is missing.
        comparison: the numbers.
        queries: what `match_queries` returns.
        runs: "baseline" and "candidate".

    Returns:
        The paths of both files.
    """
    folder = Path(output_dir)
    folder.mkdir(parents=True, exist_ok=True)
    numbers = {"verdict": comparison.verdict, **asdict(comparison)}
    for key in ("accuracy", "mean_average_precision"):
        value = getattr(comparison, key)
        if value is not None:
            numbers[key]["difference"] = value.difference
    numbers["runs"] = {
        name: {"run": run.name, "checkpoint": run.result.checkpoint, "tags": dict(run.result.tags)}
        for name, run in runs.items()
    }
    json_path, queries_path = folder / COMPARISON_FILE, folder / QUERIES_FILE
    json_path.write_text(json.dumps(numbers, indent=2, allow_nan=False) + "\n")
    queries.to_parquet(queries_path, index=False)
    return [json_path, queries_path]
