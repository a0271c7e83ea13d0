"""Evaluations without a network: folders as `python eval.py` leaves them."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd
from src.report.run_folder import PREDICTIONS_FILE, RunResult, write_result

TAGS = {
    "git_commit": "0" * 40,
    "checkpoint_sha256": "c" * 64,
    "dataset_digest": "d" * 64,
    "reference_identities": "8",
    "reference_images": "30",
    "query_identities": "4",
    "query_images": "12",
}


def make_predictions(
    correct: Sequence[bool],
    *,
    identities: Sequence[str] | None = None,
    average_precision: Sequence[float] | None = None,
) -> pd.DataFrame:
    """Outcomes of one query for each value of `correct`, three of an identity by default."""
    size = len(correct)
    identity = list(identities or (f"{1 + i // 3:04d}" for i in range(size)))
    found = [name if hit else "0000" for name, hit in zip(identity, correct, strict=True)]
    precision = [np.nan] * size if average_precision is None else average_precision
    return pd.DataFrame(
        {
            "path": [f"query/{name}/{i:03d}.jpg" for i, name in enumerate(identity)],
            "identity": identity,
            "camera": pd.array([1] * size, "Int64"),
            "nearest_path": [f"reference/{name}/{i:03d}.jpg" for i, name in enumerate(found)],
            "nearest_identity": found,
            "nearest_camera": pd.array([2] * size, "Int64"),
            "similarity": np.linspace(0.5, 0.9, size),
            "margin": np.where(correct, 0.1, -0.1),
            "first_match_rank": pd.array(np.where(correct, 1, 2), "Int64"),
            "correct": np.asarray(correct, bool),
            "cross_camera_rank": pd.array(np.where(correct, 1, 2), "Int64"),
            "average_precision": np.asarray(precision, float),
        }
    )


def write_evaluation(
    folder: Path,
    predictions: pd.DataFrame,
    *,
    checkpoint: str | None = "models/some.ckpt",
    data_dir: Path = Path("data"),
    **tags: str,
) -> Path:
    """Write the folder of an evaluation."""
    write_result(folder, RunResult({"test/acc": 0.5}, {**TAGS, **tags}, checkpoint, str(data_dir)))
    predictions.to_parquet(folder / PREDICTIONS_FILE, index=False)
    return folder
