"""The page that shows one evaluation."""

from collections.abc import Mapping
from pathlib import Path

import pandas as pd

from src.exact_retrieval.retrieval.measures import DENOMINATORS
from src.report.evaluation import Evaluation
from src.report.evaluation_folder import PREDICTIONS_FILE
from src.report.headlines import headlines
from src.report.html import Column, Table, write_page
from src.report.identities import summarise_identities
from src.report.pictures.all_pictures import PICTURES_FOLDER, draw_pictures
from src.report.pictures.palette import RIGHT_SIGN, WRONG_SIGN
from src.report.wording import (
    confidence_level,
    percent,
    provenance_facts,
    similarity_name,
    unreliable_intervals,
)
from src.report.working_points import open_set_thresholds, verification_thresholds

REPORT_FILE = "report.html"

_RIGHT = f"{RIGHT_SIGN}\u00a0right"
_WRONG = f"{WRONG_SIGN}\u00a0wrong"


def write_report(
    evaluation: Evaluation,
    folder: Path,
    *,
    pictures: bool,
    configuration: str,
    environment: Mapping[str, str],
) -> list[Path]:
    """Write `report.html`, which opens anywhere, without a network, and its pictures.

    Args:
        evaluation: what it tells of.
        folder: of the run; made if missing.
        pictures: whether to draw them, which takes most of the time.
        configuration: YAML.
        environment: versions, hardware and times, each by its name.

    Returns:
        The page, and the folder of pictures if any were drawn.
    """
    page, picture_folder = folder / REPORT_FILE, folder / PICTURES_FOLDER
    drawn = draw_pictures(evaluation, picture_folder) if pictures else []
    confidence = evaluation.confidence
    write_page(
        page,
        "report.html.j2",
        evaluation=evaluation,
        headlines=headlines(evaluation),
        denominators=DENOMINATORS,
        right=int(evaluation.predictions["correct"].sum()),
        level="" if confidence is None else confidence_level(confidence),
        unreliable=unreliable_intervals(evaluation.interval_identities()),
        similarity=similarity_name(evaluation.distance),
        evaluated=provenance_facts(evaluation.provenance),
        thresholds=verification_thresholds(evaluation) + open_set_thresholds(evaluation),
        pictures=drawn,
        identity_table=_identity_table(evaluation.predictions),
        query_table=_query_table(evaluation.predictions),
        wrong=_WRONG,
        configuration=configuration,
        environment=environment,
    )
    return [page, picture_folder] if drawn else [page]


def _identity_table(predictions: pd.DataFrame) -> Table:
    columns = [
        Column("identity", "identity"),
        Column("queries", "queries", kind="number"),
        Column("right", "right", kind="number"),
        Column("accuracy", "accuracy", percent, "number"),
        Column("mean_average_precision", "mean average precision", percent, "number"),
    ]
    identities = summarise_identities(predictions)
    return Table("Identities", columns, identities, "accuracy", PREDICTIONS_FILE)


def _query_table(predictions: pd.DataFrame) -> Table:
    columns = [
        Column("identity", "identity"),
        Column("camera", "camera", kind="number"),
        Column("correct", "answer", lambda correct: _RIGHT if correct else _WRONG),
        Column("nearest_identity", "nearest identity"),
        Column("nearest_camera", "nearest camera", kind="number"),
        Column("similarity", "similarity", "{:.4f}".format, "number"),
        Column("margin", "margin", "{:.4f}".format, "number"),
        Column("first_match_rank", "first match", kind="number"),
        Column("cross_camera_rank", "match across cameras", kind="number"),
        Column("average_precision", "average precision", percent, "number"),
        Column("path", "query", kind="path"),
        Column("nearest_path", "nearest reference", kind="path"),
    ]
    queries = predictions.sort_values("margin", kind="stable", na_position="last")
    return Table("Queries", columns, queries, "margin", PREDICTIONS_FILE)
