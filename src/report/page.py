"""The page that shows one evaluation."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, NamedTuple

import pandas as pd

from src.report.html import Column, Table, write_page
from src.report.identities import summarise_identities
from src.report.outcomes import Outcomes
from src.report.pictures import Picture
from src.report.pictures.palette import RIGHT_SIGN, WRONG_SIGN
from src.report.run_folder import RunResult
from src.report.wording import UNKNOWN, percent, similarity_name

RIGHT = f"{RIGHT_SIGN}\u00a0right"
WRONG = f"{WRONG_SIGN}\u00a0wrong"

_ACROSS_CAMERAS = (
    "without references of the query's identity and camera, of the queries that have a match then"
)
_MEANINGS = {
    "test/acc": "queries whose nearest reference has their identity, of all queries",
    "test/acc_euclidean": "the same, nearest by euclidean distance",
    "test/knn_acc": "queries whose nearest references vote for their identity, of all queries",
    "test/rank1": f"queries with a match at rank 1, {_ACROSS_CAMERAS}",
    "test/rank5": "the same, with a match among the first 5",
    "test/rank10": "the same, with a match among the first 10",
    "test/mAP": f"mean of the average precision of all matches, {_ACROSS_CAMERAS}",
    "test/mINP": "mean over the same queries of matches / rank of the last match",
}
_COUNTS = {
    "test/queries": "queries in all",
    "test/cross_camera_queries": "queries that have a match in another camera",
}


@dataclass(frozen=True)
class Report:
    """What a report tells of an evaluation.

    Attributes:
        result: at least with "test/acc" and "test/queries"; a metric "<name>" may have an
            interval from "<name>_ci_low" to "<name>_ci_high".
        outcomes: what became of every query.
        pictures: in the order of the page; may be empty.
        configuration: YAML.
        environment: versions, hardware and times, each by its name.
        notice: what a reader must know first; may be empty.
    """

    result: RunResult
    outcomes: Outcomes
    pictures: Sequence[Picture]
    configuration: str
    environment: Mapping[str, str]
    notice: str = ""


class Measure(NamedTuple):
    """One row of the table of measures; an empty `interval` where none was estimated."""

    name: str
    value: str
    interval: str
    meaning: str


def write_report(report: Report, path: Path) -> None:
    """Write the page: one HTML file that opens anywhere, without a network.

    Args:
        report: what it tells.
        path: the file to write; its folder is made where it is missing.
    """
    predictions = report.outcomes.predictions
    measures = _measures(report.result.metrics)
    write_page(
        path,
        "report.html.j2",
        notice=report.notice,
        headline=measures[0],
        level=f"{100 * (report.result.confidence or 0):g}\u00a0%",
        right=int(predictions["correct"].sum()),
        queries=len(predictions),
        similarity=similarity_name(report.outcomes.distance),
        evaluated=_evaluated(report.result),
        measures=measures,
        pictures=report.pictures,
        identity_table=_identity_table(predictions),
        query_table=_query_table(predictions),
        wrong=WRONG,
        unknown=UNKNOWN,
        configuration=report.configuration,
        environment=report.environment,
    )


def _measures(metrics: Mapping[str, float]) -> list[Measure]:
    """All metrics as rows: the known ones in the order of their meanings, then any others."""
    intervals = {
        name: (metrics[f"{name}_ci_low"], metrics[f"{name}_ci_high"])
        for name in metrics
        if f"{name}_ci_low" in metrics and f"{name}_ci_high" in metrics
    }
    bounds = {f"{name}{end}" for name in intervals for end in ("_ci_low", "_ci_high")}
    shares = [name for name in _MEANINGS if name in metrics]
    others = [name for name in metrics if name not in {*_MEANINGS, *_COUNTS, *bounds}]
    return [
        *(
            Measure(name, percent(metrics[name]), _interval(intervals.get(name)), _MEANINGS[name])
            for name in shares
        ),
        *(
            Measure(name, f"{metrics[name]:,.0f}", "", meaning)
            for name, meaning in _COUNTS.items()
            if name in metrics
        ),
        *(
            Measure(name, f"{metrics[name]:.5g}", _interval(intervals.get(name)), "")
            for name in others
        ),
    ]


def _interval(bounds: tuple[float, float] | None) -> str:
    return "" if bounds is None else f"{percent(bounds[0])} to {percent(bounds[1])}"


def _evaluated(result: RunResult) -> dict[str, str]:
    """What was evaluated, by its name; what no tag tells is left out."""
    tags = result.tags
    facts = {
        "Checkpoint": result.checkpoint or "none: random weights",
        "SHA-256 of the checkpoint": tags.get("checkpoint_sha256"),
        "Data": result.data_dir,
        "Digest of the data": tags.get("dataset_digest"),
        "References": _set_size(tags, "reference"),
        "Queries": _set_size(tags, "query"),
        "Commit": tags.get("git_commit"),
        "Tags": tags.get("tags"),
    }
    return {name: fact for name, fact in facts.items() if fact}


def _set_size(tags: Mapping[str, str], name: str) -> str | None:
    images, identities = tags.get(f"{name}_images"), tags.get(f"{name}_identities")
    if images is None or identities is None:
        return None
    return f"{int(images):,} images of {int(identities):,} identities"


def _identity_table(predictions: pd.DataFrame) -> Table:
    identities = summarise_identities(predictions)
    columns = [
        Column("identity", "identity", list(identities["identity"])),
        Column("queries", "queries", _cells(identities["queries"], str), kind="number"),
        Column("right", "right", _cells(identities["right"], str), kind="number"),
        Column("accuracy", "accuracy", _cells(identities["accuracy"], percent), kind="number"),
        Column(
            "map",
            "mean average precision",
            _cells(identities["mean_average_precision"], percent),
            kind="number",
        ),
    ]
    return Table("Identities", columns, ascending_by="accuracy")


def _query_table(predictions: pd.DataFrame) -> Table:
    queries = predictions.sort_values("margin", kind="stable", na_position="last")

    def numbers(name: str, title: str, text: Callable[[Any], str] = str) -> Column:
        return Column(name, title, _cells(queries[name], text), kind="number")

    def texts(name: str, title: str, kind: Literal["text", "path"] = "text") -> Column:
        return Column(name, title, list(queries[name]), kind)

    answers = [RIGHT if correct else WRONG for correct in queries["correct"]]
    columns = [
        texts("identity", "identity"),
        numbers("camera", "camera"),
        Column("answer", "answer", answers),
        texts("nearest_identity", "nearest identity"),
        numbers("nearest_camera", "nearest camera"),
        numbers("similarity", "similarity", _decimals),
        numbers("margin", "margin", _decimals),
        numbers("first_match_rank", "first match"),
        numbers("cross_camera_rank", "match across cameras"),
        numbers("average_precision", "average precision", percent),
        texts("path", "query", "path"),
        texts("nearest_path", "nearest reference", "path"),
    ]
    return Table("Queries", columns, ascending_by="margin")


def _cells(values: pd.Series, text: Callable[[Any], str]) -> list[str]:
    return [UNKNOWN if pd.isna(value) else text(value) for value in values]


def _decimals(value: float) -> str:
    return f"{value:.4f}"
