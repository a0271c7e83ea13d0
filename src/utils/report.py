"""The result of an evaluation, for people and for programs."""

import json
from collections.abc import Mapping
from pathlib import Path

from rich.console import Console
from rich.table import Table

from src.datamodules.components.image_set import ImageSet
from src.utils.tracking import RunRecorder

RESULT_FILE = "result.json"


def write_result(
    output_dir: str | Path, metrics: Mapping[str, float], tags: Mapping[str, str]
) -> Path:
    """Write metrics and tags to `result.json` in the folder of the run."""
    path = Path(output_dir) / RESULT_FILE
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps({"metrics": dict(metrics), "tags": dict(tags)}, indent=2) + "\n")
    return path


def print_result(
    console: Console,
    metrics: Mapping[str, float],
    sets: tuple[ImageSet, ImageSet],
    distance: str,
    checkpoint: str | Path,
) -> None:
    """Print what was evaluated, and the accuracy by each distance.

    Args:
        console: where to print.
        metrics: "test/acc", "test/acc_euclidean" and "test/queries".
        sets: reference and query.
        distance: that of "test/acc".
        checkpoint: the file that was evaluated.
    """
    table = Table(title=f"1-NN accuracy of {checkpoint}", show_header=False, title_justify="left")
    for image_set in sets:
        identities, images = f"{len(image_set.identities):,}", f"{len(image_set):,}"
        table.add_row(image_set.name, f"{identities} identities", f"{images} images")
    table.add_section()
    queries = round(metrics["test/queries"])
    for name, by in (("test/acc", distance), ("test/acc_euclidean", "euclidean")):
        right = round(metrics[name] * queries)
        table.add_row(name, f"{metrics[name]:.5f}", f"{right:,} of {queries:,} right by {by}")
    console.print(table)


def print_recording(console: Console, result_path: Path, recorder: RunRecorder) -> None:
    """Print where the result was written, how to open its runs, and which loggers failed."""
    console.print(f"Written to  {result_path}", soft_wrap=True, highlight=False)
    for line in recorder.how_to_open():
        console.print(
            f"Recorded in MLflow; to look at it:  {line}", soft_wrap=True, highlight=False
        )
    for failure in recorder.failures:
        console.print(f"NOT recorded: {failure}", style="bold red", soft_wrap=True, markup=False)
