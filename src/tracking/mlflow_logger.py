"""Lightning's MLflow logger, and what people and MLflow are told about its run."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from pytorch_lightning.loggers import MLFlowLogger

if TYPE_CHECKING:
    from mlflow.entities import DatasetInput

_SQLITE = "sqlite:///"


def build_mlflow_logger(
    experiment_name: str, tracking_uri: str, run_name: str | None = None
) -> MLFlowLogger:
    """Make Lightning's MLflow logger, with artifacts beside a local database.

    Args:
        experiment_name: created if it does not exist.
        tracking_uri: `sqlite:///<path>`, or the address of a server, which chooses where artifacts
            go.
        run_name: None lets MLflow invent one.
    """
    artifact_location = None
    if tracking_uri.startswith(_SQLITE):
        database = Path(tracking_uri.removeprefix(_SQLITE)).resolve()
        database.parent.mkdir(parents=True, exist_ok=True)
        artifact_location = (database.parent / "mlruns").as_uri()
    return MLFlowLogger(
        experiment_name=experiment_name,
        tracking_uri=tracking_uri,
        run_name=run_name,
        artifact_location=artifact_location,
    )


def how_to_open(logger: MLFlowLogger) -> str:
    """Return the address of a run on a server, or the command that shows a local one."""
    uri: str = logger.experiment.tracking_uri
    page = f"#/experiments/{logger.experiment_id}/runs/{logger.run_id}"
    if uri.startswith("http"):
        return f"{uri.rstrip('/')}/{page}"
    return f"mlflow ui --backend-store-uri {uri}  # then http://127.0.0.1:5000/{page}"


def describe_dataset(data_dir: Path, digest: str, counts: Mapping[str, int]) -> "DatasetInput":
    """Return a folder of data as MLflow lists it among the inputs of a run."""
    from mlflow.entities import Dataset, DatasetInput, InputTag  # slow to import

    path = data_dir.resolve()
    dataset = Dataset(
        name=path.name,
        digest=digest[:36],
        source_type="local",
        source=json.dumps({"uri": path.as_uri()}),
        profile=json.dumps(dict(counts)),
    )
    return DatasetInput(dataset, tags=[InputTag("mlflow.data.context", "test")])
