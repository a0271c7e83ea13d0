"""An evaluation that a comparison names by its folder or its MLflow run."""

import re
import tempfile
from dataclasses import dataclass
from pathlib import Path

from src.report.evaluation import Evaluation
from src.report.evaluation_folder import PREDICTIONS_FILE, RESULT_FILE, read_evaluation

_RUN_ID = re.compile(r"[0-9a-f]{32}")


@dataclass(frozen=True)
class EvaluatedRun:
    """An evaluation and the folder or MLflow run id by which it was asked for."""

    name: str
    evaluation: Evaluation


def read_run(argument: str, name: str, tracking_uri: str | None) -> EvaluatedRun:
    """Read the evaluation of that name: a folder, or otherwise an MLflow run.

    Args:
        argument: what errors call it.
        name: the folder of a run, or a run id of 32 hexadecimal digits.
        tracking_uri: where MLflow keeps runs; None if it is not in use.

    Raises:
        FileNotFoundError: if there is no such folder or run, or a file of it is missing.
        ValueError: if a file is not what an evaluation writes.
    """
    try:
        return EvaluatedRun(name, _read(name, tracking_uri))
    except (FileNotFoundError, ValueError) as error:
        kind = FileNotFoundError if isinstance(error, FileNotFoundError) else ValueError
        raise kind(
            f"`{argument}` should be the folder of an evaluation, such as logs/eval/runs/<time>, "
            f"or an MLflow run id of 32 hexadecimal digits, got {name}: {error}"
        ) from error


def _read(name: str, tracking_uri: str | None) -> Evaluation:
    folder = Path(name).expanduser()
    if folder.is_dir():
        return read_evaluation(folder)
    if not _RUN_ID.fullmatch(name):
        raise FileNotFoundError("there is no such folder")
    if tracking_uri is None:
        raise ValueError("choose logger=mlflow, whose tracking_uri says where runs are")
    with tempfile.TemporaryDirectory() as copies:
        _download(name, tracking_uri, copies)
        return read_evaluation(Path(copies))


def _download(run_id: str, tracking_uri: str, folder: str) -> None:
    from mlflow.exceptions import MlflowException  # slow to import
    from mlflow.tracking import MlflowClient

    client = MlflowClient(tracking_uri)
    try:
        client.get_run(run_id)
        artifacts = {artifact.path for artifact in client.list_artifacts(run_id)}
        for file in (RESULT_FILE, PREDICTIONS_FILE):
            if file in artifacts:
                client.download_artifacts(run_id, file, folder)
    except MlflowException as error:
        raise FileNotFoundError(f"MLflow at {tracking_uri} says: {error}") from error
