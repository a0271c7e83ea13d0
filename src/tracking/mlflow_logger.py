"""Lightning's MLflow logger, and what people and MLflow are told about its run."""

import json
import time
import warnings
from collections.abc import Mapping, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Literal, get_args

import torch
from pytorch_lightning import loggers
from torch import Tensor, nn

from src.utils.secrets import without_passwords

if TYPE_CHECKING:  # slow to import
    from mlflow.entities import DatasetInput
    from mlflow.system_metrics.system_metrics_monitor import SystemMetricsMonitor
    from mlflow.tracking import MlflowClient

LoggedCheckpoints = Literal["best", "all", "none"]
_SQLITE = "sqlite:///"
_EXPERIMENT_KIND = "mlflow.experimentKind"
_CLASSIC = "custom_model_development"  # no experiment with language models
_CLASSIC_VIEW = "workflowType=machine_learning"  # of newer pages, which overlook the kind


class MLFlowLogger(loggers.MLFlowLogger):
    """Lightning's MLflow logger, whose runs have what people look for in them.

    Artifacts of a local database are kept beside it.

    Args:
        experiment_name: created if it does not exist.
        tracking_uri: `sqlite:///<path>`, or the address of a server, which chooses where artifacts
            go.
        run_name: None leaves it to the task.
        log_checkpoints: which checkpoints of a training become artifacts.
        log_model: whether the network becomes an MLflow model.
        log_system_metrics: whether the load of processor, memory and GPU is recorded.

    Raises:
        ValueError: if `log_checkpoints` is another, or psutil is missing, which system metrics
            need.
    """

    def __init__(
        self,
        experiment_name: str,
        tracking_uri: str,
        run_name: str | None = None,
        log_checkpoints: LoggedCheckpoints = "best",
        log_model: bool = False,
        log_system_metrics: bool = False,
    ) -> None:
        if log_checkpoints not in get_args(LoggedCheckpoints):
            raise ValueError(
                f"`log_checkpoints` should be one of {get_args(LoggedCheckpoints)}, "
                f"got {log_checkpoints!r}"
            )
        if log_system_metrics:
            _require_psutil()
        artifact_location = None
        if tracking_uri.startswith(_SQLITE):
            database = Path(tracking_uri.removeprefix(_SQLITE)).resolve()
            database.parent.mkdir(parents=True, exist_ok=True)
            if database.is_dir():  # SQLAlchemy tries that for minutes
                raise IsADirectoryError(f"{database} is a folder, and no database")
            artifact_location = (database.parent / "mlruns").as_uri()
        super().__init__(
            experiment_name=experiment_name,
            tracking_uri=tracking_uri,
            run_name=run_name,
            artifact_location=artifact_location,
        )
        self.log_checkpoints = log_checkpoints
        self.log_model = log_model
        self.log_system_metrics = log_system_metrics
        self._monitor: SystemMetricsMonitor | None = None

    @property
    def run_id(self) -> str:
        """The id of the run, which is created if there is none."""
        run_id = super().run_id
        assert run_id is not None
        return run_id

    @property
    def experiment_id(self) -> str:
        """The id of the experiment, which is created if there is none."""
        experiment_id = super().experiment_id
        assert experiment_id is not None
        return experiment_id

    @property
    def client(self) -> "MlflowClient":
        """The client of a run that has been opened."""
        client: MlflowClient = self.experiment
        return client

    def open_run(self, name: str | None, tags: Mapping[str, str]) -> str:
        """Create the run, and return its id.

        Args:
            name: of the run, unless the constructor was given one; None lets MLflow invent it.
            tags: that identify the run.
        """
        self._run_name = self._run_name or name
        self.tags = dict(tags)
        run_id = self.run_id
        if _EXPERIMENT_KIND not in self.client.get_experiment(self.experiment_id).tags:
            self.client.set_experiment_tag(self.experiment_id, _EXPERIMENT_KIND, _CLASSIC)
        if self.log_system_metrics:
            from mlflow.system_metrics.system_metrics_monitor import SystemMetricsMonitor

            self._monitor = SystemMetricsMonitor(run_id, tracking_uri=self.client.tracking_uri)
            self._monitor.start()
        return run_id

    def describe(self, text: str) -> None:
        """Set what the page of the run says about it."""
        from mlflow.utils.mlflow_tags import MLFLOW_RUN_NOTE

        self.client.set_tag(self.run_id, MLFLOW_RUN_NOTE, text)

    def set_tags(self, tags: Mapping[str, str]) -> None:
        """Set tags of the run."""
        from mlflow.entities import RunTag

        entities = [RunTag(name, tag) for name, tag in tags.items()]
        self.client.log_batch(self.run_id, tags=entities)

    def log_curve(self, name: str, values: Sequence[float]) -> None:
        """Record a metric at the steps 1, 2, 3 and so on."""
        from mlflow.entities import Metric

        now = int(1000 * time.time())
        steps = enumerate(values, start=1)
        points = [Metric(name, value, now, step) for step, value in steps]
        self.client.log_batch(self.run_id, metrics=points)

    def log_network(self, network: nn.Module, example: Tensor) -> None:
        """Record a network as an MLflow model named "model", which holds no code of ours.

        Args:
            network: on the CPU, from images [B, 3, H, W] to embeddings [B, D].
            example: images [2, 3, H, W], or more; any number can be embedded later.
        """
        with warnings.catch_warnings(action="ignore"):  # MLflow's, of its own type hints
            import mlflow.pytorch
            from mlflow.models import Model, infer_signature

            with torch.no_grad():
                embeddings = network(example)
            entry = self.client.create_logged_model(
                self.experiment_id, name="model", source_run_id=self.run_id
            )
            Model.log(
                None,
                model_id=entry.model_id,
                flavor=mlflow.pytorch,
                run_id=self.run_id,
                pytorch_model=network,
                serialization_format="pt2",
                signature=infer_signature(example.numpy(), embeddings.numpy()),
                input_example=example.numpy(),
                pip_requirements=[f"torch=={version('torch')}"],
            )

    def finalize(self, status: str = "success") -> None:
        """Close the run."""
        if self._monitor is not None:
            self._monitor.finish()
        super().finalize(status)

    def how_to_open(self) -> str:
        """Return the address of a run on a server, or the command that shows a local one."""
        uri = without_passwords(self.client.tracking_uri)
        page = f"#/experiments/{self.experiment_id}/runs/{self.run_id}?{_CLASSIC_VIEW}"
        if uri.startswith("http"):
            return f"{uri.rstrip('/')}/{page}"
        return f"mlflow ui --backend-store-uri {uri}  # then http://127.0.0.1:5000/{page}"


def describe_dataset(
    data_dir: Path, digest: str, counts: Mapping[str, int], context: str
) -> "DatasetInput":
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
    return DatasetInput(dataset, tags=[InputTag("mlflow.data.context", context)])


def _require_psutil() -> None:
    try:
        import psutil  # noqa: F401
    except ImportError as error:
        raise ValueError("`log_system_metrics` needs psutil: pip install psutil") from error
