"""Recording a run with Lightning's loggers, MLflow first of all."""

import json
import subprocess
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any, Self

from mlflow.entities import Dataset, DatasetInput, InputTag
from omegaconf import DictConfig
from pytorch_lightning.loggers import Logger, MLFlowLogger

from src.datamodules.components.image_set import ImageSet
from src.utils.run_guard import RunGuard

_SQLITE = "sqlite:///"


class RunRecorder:
    """Context in which a run is recorded; a failing logger does not cost the result.

    Entering opens the run with its parameters and tags. Leaving closes it: as failed where an
    exception passes; an MLflow run fails even where this process is killed. A logger that raises,
    as when its server cannot be reached, gets no further calls.

    Args:
        loggers: where to record.
        parameters: the configuration, nested as it is.
        tags: what else identifies the run.

    Attributes:
        failures: the message of every logger that failed.
    """

    def __init__(
        self,
        loggers: Sequence[Logger],
        parameters: Mapping[str, Any],
        tags: Mapping[str, str],
    ) -> None:
        self._working = list(loggers)
        self._parameters = dict(parameters)
        self._tags = dict(tags)
        self.failures: list[str] = []
        self._guards = ExitStack()

    def __enter__(self) -> Self:
        self._call_each(self._open)
        return self

    def __exit__(self, exception_type: type[BaseException] | None, *_: object) -> None:
        status = "success" if exception_type is None else "failed"
        self._call_each(lambda logger: logger.finalize(status))
        self._guards.close()

    def log_metrics(self, metrics: Mapping[str, float], step: int = 0) -> None:
        """Write the result, at the epoch of its checkpoint."""
        self._call_each(lambda logger: logger.log_metrics(dict(metrics), step))

    def log_dataset(self, data_dir: str | Path, digest: str, counts: Mapping[str, int]) -> None:
        """Tell MLflow what was evaluated; other loggers keep no data sets.

        Args:
            data_dir: the folder of the data, whose name becomes that of the data set.
            digest: of the data; MLflow keeps the first 36 characters.
            counts: what else is to be shown, by name.
        """
        path = Path(data_dir).resolve()
        dataset = Dataset(
            name=path.name,
            digest=digest[:36],
            source_type="local",
            source=json.dumps({"uri": path.as_uri()}),
            profile=json.dumps(dict(counts)),
        )
        used = DatasetInput(dataset, tags=[InputTag("mlflow.data.context", "test")])

        def log(logger: Logger) -> None:
            if isinstance(logger, MLFlowLogger):
                logger.experiment.log_inputs(logger.run_id, [used])

        self._call_each(log)

    def log_artifact(self, path: Path) -> None:
        """Keep a copy of a file or folder with every MLflow run; other loggers keep none."""

        def log(logger: Logger) -> None:
            if isinstance(logger, MLFlowLogger):
                logger.experiment.log_artifact(logger.run_id, str(path))

        self._call_each(log)

    def _open(self, logger: Logger) -> None:
        if isinstance(logger, MLFlowLogger):
            logger.tags = {**(logger.tags or {}), **self._tags}
            run_id = logger.run_id  # creates the run
            assert run_id is not None
            self._guards.enter_context(RunGuard(logger._tracking_uri, run_id))
        logger.log_hyperparams(self._parameters)

    def how_to_open(self) -> list[str]:
        """The address of every run on an MLflow server, or the command that shows a local one."""
        runs = [logger for logger in self._working if isinstance(logger, MLFlowLogger)]
        return [_how_to_open(run) for run in runs]

    def _call_each(self, action: Callable[[Logger], None]) -> None:
        for logger in list(self._working):
            try:
                action(logger)
            except Exception as error:  # whatever a client library raises about its server
                self._working.remove(logger)
                self.failures.append(f"{type(logger).__name__}: {error}")


def build_mlflow_logger(
    experiment_name: str, tracking_uri: str, run_name: str | None = None
) -> MLFlowLogger:
    """Make Lightning's MLflow logger, with artifacts beside a local database.

    Args:
        experiment_name: created where it is missing.
        tracking_uri: `sqlite:///<path>`, or the address of a server, which then keeps the artifacts
            where it likes.
        run_name: MLflow invents one where it is None.
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


def _how_to_open(logger: MLFlowLogger) -> str:
    uri: str = logger._tracking_uri
    page = f"#/experiments/{logger.experiment_id}/runs/{logger.run_id}"
    if uri.startswith("http"):
        return f"{uri.rstrip('/')}/{page}"
    return f"mlflow ui --backend-store-uri {uri}  # then http://127.0.0.1:5000/{page}"


def describe_run(cfg: DictConfig, sets: Iterable[ImageSet]) -> dict[str, str]:
    """Tags of a run: the commit, the tags of the configuration, and the size of its sets."""
    tags = {"git_commit": git_commit(cfg.paths.root_dir)}
    if cfg.tags:
        tags["tags"] = ",".join(map(str, cfg.tags))
    for image_set in sets:
        tags[f"{image_set.name}_identities"] = str(len(image_set.identities))
        tags[f"{image_set.name}_images"] = str(len(image_set))
    return tags


def git_commit(folder: str | Path) -> str:
    """The commit that is checked out, with "+changes" where files differ, or "unknown"."""
    try:
        commit = _git(folder, "rev-parse", "HEAD")
        return f"{commit}+changes" if _git(folder, "status", "--porcelain", "-uno") else commit
    except (OSError, subprocess.CalledProcessError):
        return "unknown"


def _git(folder: str | Path, *arguments: str) -> str:
    return subprocess.run(
        ["git", "-C", str(folder), *arguments], check=True, capture_output=True, text=True
    ).stdout.strip()
