"""What an evaluation leaves in the folder of its run about every query."""

from collections.abc import Mapping
from pathlib import Path

from src.report.outcomes import Outcomes
from src.report.page import Report, write_report
from src.report.pictures import draw_pictures
from src.report.run_folder import PICTURES_FOLDER, PREDICTIONS_FILE, REPORT_FILE, RunResult


def write_analysis(
    folder: Path,
    result: RunResult,
    outcomes: Outcomes,
    *,
    configuration: str,
    environment: Mapping[str, str],
    notice: str,
) -> list[Path]:
    """Write `predictions.parquet`, the pictures and the report.

    Args:
        folder: of the run.
        result: of the evaluation.
        outcomes: what became of every query; pictures are drawn where it knows `similarities`.
        configuration: YAML.
        environment: versions, hardware and times, each by its name.
        notice: what a reader must know first; may be empty.

    Returns:
        The files and folders that were written.
    """
    predictions, page = folder / PREDICTIONS_FILE, folder / REPORT_FILE
    outcomes.predictions.to_parquet(predictions, index=False)
    pictures = []
    if outcomes.similarities is not None:
        pictures = draw_pictures(outcomes, Path(result.data_dir), folder / PICTURES_FOLDER)
    write_report(Report(result, outcomes, pictures, configuration, environment, notice), page)
    return [predictions, page, *([folder / PICTURES_FOLDER] if pictures else [])]
