"""The files of an evaluation in the folder of its run, written and read."""

import json
import re
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pandas as pd
import torch

from src.exact_retrieval.retrieval.measures import DENOMINATORS, MEASURES
from src.exact_retrieval.retrieval.ranking import SimilarityHistogram
from src.exact_retrieval.retrieval.verification import EqualError, Verification
from src.exact_retrieval.retrieval.working_points import WorkingPoint
from src.preprocessing import Preprocessing
from src.report.evaluation import Estimate, Evaluation, LeftOut, Provenance, SetSize

RESULT_FILE = "result.json"
PREDICTIONS_FILE = "predictions.parquet"

_NEEDED = ("path", "identity", "nearest_path", "nearest_identity", "similarity", "correct")
_KINDS = {
    "correct": ("true or false", pd.api.types.is_bool_dtype),
    "similarity": ("numbers", pd.api.types.is_float_dtype),
    "average_precision": ("numbers", pd.api.types.is_float_dtype),
}
_ROUNDING = 1e-6  # of the float32 numbers in result.json
_LISTS = ("neighbor_path", "neighbor_identity", "neighbor_camera", "neighbor_similarity")
_NUMBER_OF_LIST = re.compile(r"\n\s+(?=[-\d])")  # keys begin with a quotation mark


def write_result(evaluation: Evaluation, folder: Path) -> Path:
    """Write `result.json`, all but the predictions, into a folder, which is made if missing."""
    histogram, equal_error = evaluation.histogram, evaluation.verification.equal_error
    result = {
        "metrics": evaluation.metrics(),
        "tags": evaluation.provenance.run_tags(),
        "checkpoint": evaluation.provenance.checkpoint,
        "data_dir": evaluation.provenance.data_dir,
        "omissions": evaluation.omissions,
        "confidence": evaluation.confidence,
        "distance": evaluation.distance,
        "k": evaluation.k,
        "vote": evaluation.vote,
        "provenance": asdict(evaluation.provenance),
        "histogram": (
            None
            if histogram is None
            else {name: column.tolist() for name, column in histogram._asdict().items()}
        ),
        "verification": [asdict(point) for point in evaluation.verification.points],
        "equal_error": None if equal_error is None else equal_error._asdict(),
        "open_set": [asdict(point) for point in evaluation.open_set],
    }
    text = _NUMBER_OF_LIST.sub(" ", json.dumps(result, indent=2, allow_nan=False))
    folder.mkdir(parents=True, exist_ok=True)
    (folder / RESULT_FILE).write_text(text + "\n")
    return folder / RESULT_FILE


def write_predictions(evaluation: Evaluation, folder: Path) -> Path:
    """Write `predictions.parquet`, a row for each query, into a folder that exists."""
    evaluation.predictions.to_parquet(folder / PREDICTIONS_FILE, index=False)
    return folder / PREDICTIONS_FILE


def read_evaluation(folder: Path) -> Evaluation:
    """Read what `write_result` and `write_predictions` wrote, or earlier versions of them.

    Raises:
        FileNotFoundError: if one of the files is missing.
        ValueError: if one of them is not as it should be.
    """
    for file in (RESULT_FILE, PREDICTIONS_FILE):
        if not (folder / file).is_file():
            raise FileNotFoundError(
                f"{file} is missing: python eval.py ckpt_path=<file> writes {RESULT_FILE} and, "
                f"unless analysis.report=false, {PREDICTIONS_FILE}"
            )
    try:
        result = json.loads((folder / RESULT_FILE).read_text())
        evaluation = _build_evaluation(result, _read_predictions(folder / PREDICTIONS_FILE))
    except KeyError as error:
        raise ValueError(f"{RESULT_FILE} has no {error}") from error
    except TypeError as error:
        raise ValueError(f"{RESULT_FILE} should be a result of an evaluation: {error}") from error
    _check_means(evaluation)
    return evaluation


def _check_means(evaluation: Evaluation) -> None:
    """Refuse predictions of another evaluation than that of the result beside them."""
    for estimate in evaluation.estimates:
        name = estimate.measure.name
        column = "correct" if name == "acc" else name
        if column in evaluation.predictions:
            values = evaluation.predictions[column]
            weights = evaluation.weights(estimate.measure)
            mean = values.mean()
            if weights is not None:
                mean = (values * weights).sum() / weights[values.notna()].sum()
            if not abs(mean - estimate.value) < _ROUNDING:
                raise ValueError(
                    f"{PREDICTIONS_FILE} should belong to {RESULT_FILE} beside it, where "
                    f"test/{name} is {estimate.value:.5f}, but the mean of `{column}` is {mean:.5f}"
                )


def _read_predictions(path: Path) -> pd.DataFrame:
    predictions = pd.read_parquet(path)
    missing = [column for column in _NEEDED if column not in predictions]
    if missing:
        raise ValueError(
            f"{path.name} should have the columns {list(_NEEDED)}, got none of {missing}: evaluate "
            "the checkpoint again with this version"
        )
    for column, (kind, is_right) in _KINDS.items():
        if column in predictions and not is_right(predictions[column]):
            raise ValueError(
                f"{path.name} should have {kind} in `{column}`, got {predictions[column].dtype}"
            )
    paths = predictions["path"].nunique()
    if paths == 0 or paths < len(predictions):
        raise ValueError(
            f"{path.name} should have one row for each query, got {len(predictions)} rows for "
            f"{paths} paths"
        )
    for column in predictions.columns.intersection(_LISTS):
        predictions[column] = [row.tolist() for row in predictions[column]]
    if "neighbor_camera" in predictions:
        predictions["neighbor_camera"] = [
            [_read_camera(camera) for camera in row] for row in predictions["neighbor_camera"]
        ]
    return predictions


def _read_camera(camera: Any) -> int | str | None:
    """Read a camera of a list, where one that is unknown turns the others to numbers with NaN."""
    if pd.isna(camera):
        return None
    return camera if isinstance(camera, str) else int(camera)


def _build_evaluation(result: Mapping[str, Any], predictions: pd.DataFrame) -> Evaluation:
    metrics, histogram = result["metrics"], result.get("histogram")
    equal_error = result.get("equal_error")
    counts = {
        name: int(metrics[f"test/{name}"]) for name in DENOMINATORS if f"test/{name}" in metrics
    }
    return Evaluation(
        provenance=_read_provenance(result),
        estimates=tuple(
            Estimate(
                measure,
                metrics[f"test/{measure.name}"],
                counts[measure.denominator],
                _read_interval(metrics, f"test/{measure.name}"),
            )
            for measure in MEASURES
            if f"test/{measure.name}" in metrics
        ),
        counts=counts,
        predictions=predictions,
        distance=result.get("distance"),
        k=result.get("k"),
        vote=result.get("vote"),
        histogram=None if histogram is None else _read_histogram(**histogram),
        verification=Verification(
            _read_points(result.get("verification", [])),
            None if equal_error is None else EqualError(**equal_error),
        ),
        open_set=_read_points(result.get("open_set", [])),
        confidence=result.get("confidence"),
        omissions=tuple(result.get("omissions", ())),
    )


def _read_interval(metrics: Mapping[str, float], name: str) -> tuple[float, float] | None:
    low, high = f"{name}_ci_low", f"{name}_ci_high"
    return (metrics[low], metrics[high]) if low in metrics else None


def _read_histogram(
    edges: list[float], same: list[int], different: list[int]
) -> SimilarityHistogram:
    return SimilarityHistogram(
        torch.tensor(edges, dtype=torch.float64), torch.tensor(same), torch.tensor(different)
    )


def _read_points(points: list[dict[str, Any]]) -> tuple[WorkingPoint, ...]:
    return tuple(WorkingPoint(**point) for point in points)


def _read_provenance(result: Mapping[str, Any]) -> Provenance:
    """Read the provenance; from the tags, where an earlier version wrote no more."""
    if "provenance" in result:
        facts = dict(result["provenance"])
        sets = {name: SetSize(**facts.pop(name)) for name in ("reference", "query")}
        preprocessing, tags = facts.pop("preprocessing", None), facts.pop("tags")
        left_out = facts.pop("left_out", ())
        return Provenance(
            **facts | sets,
            tags=tuple(tags),
            left_out=tuple(LeftOut(**each) for each in left_out),
            preprocessing=preprocessing and Preprocessing(**preprocessing),
        )
    tags = result["tags"]
    is_random = result["checkpoint"] is None
    epoch = tags.get("checkpoint_epoch", "")
    reference, query = (
        SetSize(int(tags[f"{name}_identities"]), int(tags[f"{name}_images"]))
        for name in ("reference", "query")
    )
    return Provenance(
        checkpoint=result["checkpoint"],
        checkpoint_sha256=None if is_random else tags["checkpoint_sha256"],
        epoch=int(epoch) if epoch.isdecimal() else None,
        data_dir=result["data_dir"],
        dataset_digest=tags["dataset_digest"],
        reference=reference,
        query=query,
        git_commit=tags["git_commit"],
        tags=tuple(tags["tags"].split(",")) if "tags" in tags else (),
        notice="",
    )
