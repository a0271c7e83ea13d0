"""The files of an evaluation in the folder of its run, written and read."""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

RESULT_FILE = "result.json"
PREDICTIONS_FILE = "predictions.parquet"
REPORT_FILE = "report.html"
PICTURES_FOLDER = "pictures"


@dataclass(frozen=True)
class RunResult:
    """What `result.json` holds.

    Attributes:
        metrics: by name, as they were logged.
        tags: what identifies checkpoint, code and data.
        checkpoint: the file that was evaluated; None for random weights.
        data_dir: the folder that paths in `predictions.parquet` are relative to.
        confidence: of the intervals, from "<metric>_ci_low" to "<metric>_ci_high"; None without.
    """

    metrics: Mapping[str, float]
    tags: Mapping[str, str]
    checkpoint: str | None
    data_dir: str
    confidence: float | None = None


def write_result(output_dir: str | Path, result: RunResult) -> Path:
    """Write `result.json` into the folder of the run, which is made where it is missing."""
    path = Path(output_dir) / RESULT_FILE
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(asdict(result), indent=2) + "\n")
    return path


def read_result(folder: str | Path) -> RunResult:
    """Read `result.json` from the folder of a run.

    Raises:
        FileNotFoundError: if it is not there.
        ValueError: if it is not what `write_result` writes.
    """
    path = Path(folder) / RESULT_FILE
    if not path.is_file():
        raise FileNotFoundError(
            f"No {RESULT_FILE} in {folder}: expected the folder of an evaluation"
        )
    try:
        return RunResult(**json.loads(path.read_text()))
    except (TypeError, ValueError) as error:
        raise ValueError(f"{path} should be the result of an evaluation: {error}") from error
