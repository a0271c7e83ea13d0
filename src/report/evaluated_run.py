"""An evaluation read back, from the folder of its run or from MLflow."""

import re
import tempfile
from dataclasses import dataclass
from pathlib import Path

import pandas as pd
from mlflow.exceptions import MlflowException
from mlflow.tracking import MlflowClient

from src.report.run_folder import PREDICTIONS_FILE, RESULT_FILE, RunResult, read_result

_RUN_ID = re.compile(r"[0-9a-f]{32}")
_COLUMNS = ("path", "identity", "nearest_path", "nearest_identity", "similarity", "correct")
_COUNTS = ("reference_identities", "reference_images", "query_identities", "query_images")
_NAMED_AT_MOST = 3
_EVALUATE = "python eval.py ckpt_path=<file> writes both"


@dataclass(frozen=True)
class EvaluatedRun:
    """An evaluation.

    Attributes:
        name: the folder or the MLflow run id by which it was asked for.
        result: what `result.json` holds.
        predictions: as in `Outcomes`; only the columns that a comparison needs are sure.
    """

    name: str
    result: RunResult
    predictions: pd.DataFrame


def read_run(argument: str, name: str, tracking_uri: str | None) -> EvaluatedRun:
    """Read the evaluation of that name: a folder, or otherwise an MLflow run.

    Args:
        argument: what errors call it.
        name: the folder of a run, or a run id of 32 hexadecimal digits.
        tracking_uri: where MLflow keeps runs; None where it is not in use.

    Raises:
        FileNotFoundError: if there is no such folder or run, or a file of it is missing.
        ValueError: if a file is not what an evaluation writes.
    """
    folder = Path(name).expanduser()
    if folder.is_dir():
        return _read_folder(argument, name, folder)
    if not _RUN_ID.fullmatch(name):
        raise FileNotFoundError(
            f"`{argument}` should be the folder of an evaluation, such as logs/eval/runs/<time>, "
            f"or an MLflow run id of 32 hexadecimal digits, got {name}: there is no such folder"
        )
    if tracking_uri is None:
        raise ValueError(
            f"`{argument}` should be a folder where MLflow is not in use, got the run id {name}: "
            "choose logger=mlflow, whose tracking_uri says where runs are"
        )
    with tempfile.TemporaryDirectory() as copies:
        _download(argument, name, tracking_uri, copies)
        return _read_folder(argument, name, Path(copies))


def check_same_data(baseline: EvaluatedRun, candidate: EvaluatedRun) -> None:
    """Refuse to compare evaluations of different data.

    Raises:
        ValueError: if the digests or the queries differ, or a digest is lacking; it says how.
    """
    digests = []
    for argument, run in (("baseline", baseline), ("candidate", candidate)):
        if "dataset_digest" not in run.result.tags:
            raise ValueError(
                f"`{argument}` should be an evaluation, whose {RESULT_FILE} has the tag "
                f"dataset_digest, got {run.name} without it: {_EVALUATE}"
            )
        digests.append(run.result.tags["dataset_digest"])
    only = _paths_of_one(baseline, candidate)
    if digests[0] == digests[1] and not only:
        return
    if digests[0] == digests[1]:
        lines = ["the images are the same, but under other paths, as in another layout:"]
    else:
        lines = ["the data differ:", *_differing_tags(baseline, candidate)]
    raise ValueError(
        "`candidate` should be evaluated on the data of `baseline`, "
        + "\n  ".join([*lines, *only])
        + "\nEvaluate both checkpoints with the same datamodule.data_dir."
    )


def _read_folder(argument: str, name: str, folder: Path) -> EvaluatedRun:
    for file in (RESULT_FILE, PREDICTIONS_FILE):
        if not (folder / file).is_file():
            raise FileNotFoundError(
                f"`{argument}` should hold {RESULT_FILE} and {PREDICTIONS_FILE}, got {name} "
                f"without {file}: {_EVALUATE}, unless callbacks=none"
            )
    try:
        result = read_result(folder)
        predictions = pd.read_parquet(folder / PREDICTIONS_FILE)
    except (OSError, ValueError) as error:
        raise ValueError(f"`{argument}` should be an evaluation, got {name}: {error}") from error
    missing = [column for column in _COLUMNS if column not in predictions]
    if missing:
        raise ValueError(
            f"`{argument}` should have {list(_COLUMNS)} in {PREDICTIONS_FILE}, got {name} without "
            f"{missing}: evaluate the checkpoint again with this version"
        )
    if predictions.empty or predictions["path"].duplicated().any():
        raise ValueError(
            f"`{argument}` should have one row for each query in {PREDICTIONS_FILE}, got "
            f"{len(predictions)} rows for {predictions['path'].nunique()} paths in {name}"
        )
    return EvaluatedRun(name, result, predictions)


def _download(argument: str, run_id: str, tracking_uri: str, folder: str) -> None:
    client = MlflowClient(tracking_uri)
    try:
        client.get_run(run_id)
        artifacts = {artifact.path for artifact in client.list_artifacts(run_id)}
        for file in (RESULT_FILE, PREDICTIONS_FILE):
            if file in artifacts:
                client.download_artifacts(run_id, file, folder)
    except MlflowException as error:
        raise FileNotFoundError(
            f"`{argument}` should be a folder or an MLflow run at {tracking_uri} "
            f"(logger.mlflow.tracking_uri), got {run_id}: {error}"
        ) from error


def _differing_tags(baseline: EvaluatedRun, candidate: EvaluatedRun) -> list[str]:
    lines = []
    for tag in ("dataset_digest", *_COUNTS):
        ours, theirs = (run.result.tags.get(tag, "unknown") for run in (baseline, candidate))
        if ours != theirs:
            lines.append(f"{tag}: {ours} in the baseline, {theirs} in the candidate")
    return lines


def _paths_of_one(baseline: EvaluatedRun, candidate: EvaluatedRun) -> list[str]:
    paths = [set(run.predictions["path"]) for run in (baseline, candidate)]
    lines = []
    for name, only in (("baseline", paths[0] - paths[1]), ("candidate", paths[1] - paths[0])):
        if only:
            first = ", ".join(sorted(only)[:_NAMED_AT_MOST])
            more = ", ..." if len(only) > _NAMED_AT_MOST else ""
            lines.append(f"queries of the {name} alone: {len(only)} ({first}{more})")
    return lines
