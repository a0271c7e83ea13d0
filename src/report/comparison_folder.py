"""The files of a comparison in the folder of its run."""

import json
from dataclasses import asdict
from pathlib import Path

from src.exact_retrieval.statistics.paired_difference import PairedDifference
from src.report.comparison import Comparison
from src.report.evaluated_run import EvaluatedRun

QUERIES_FILE = "comparison.parquet"
_RESULT_FILE = "comparison.json"


def write_comparison(comparison: Comparison, folder: Path) -> list[Path]:
    """Write `comparison.json`, the numbers, and `comparison.parquet`, a row for each query.

    Args:
        comparison: what to write.
        folder: made if missing.

    Returns:
        The paths of both files.
    """
    numbers = {
        "verdict": comparison.verdict,
        "accuracy": _describe_mean(comparison.accuracy),
        "rank_1": _describe_mean(comparison.rank_1),
        "mean_average_precision": _describe_mean(comparison.mean_average_precision),
        "other_measures": {
            name: _describe_mean(value) for name, value in comparison.others.items()
        },
        "won": len(comparison.won),
        "lost": len(comparison.lost),
        "both_right": comparison.count(baseline=True, candidate=True),
        "both_wrong": comparison.count(baseline=False, candidate=False),
        "p_value": comparison.p_value,
        "confidence": comparison.confidence,
        "runs": {name: _describe_run(run) for name, run in comparison.runs.items()},
    }
    folder.mkdir(parents=True, exist_ok=True)
    result, table = folder / _RESULT_FILE, folder / QUERIES_FILE
    result.write_text(json.dumps(numbers, indent=2, allow_nan=False) + "\n")
    comparison.queries.to_parquet(table, index=False)
    return [result, table]


def _describe_mean(value: PairedDifference | None) -> dict[str, object] | None:
    return None if value is None else {**asdict(value), "difference": value.difference}


def _describe_run(run: EvaluatedRun) -> dict[str, object]:
    checkpoint, tags = run.evaluation.provenance.checkpoint, run.evaluation.provenance.run_tags()
    return {"run": run.name, "checkpoint": checkpoint, "tags": tags}
