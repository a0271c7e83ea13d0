"""Record a run with any of Lightning's loggers, and survive the loggers that fail."""

from argparse import Namespace
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

from pytorch_lightning.callbacks import ModelCheckpoint
from pytorch_lightning.loggers import Logger, MLFlowLogger

from src.tracking.mlflow_logger import describe_dataset, how_to_open
from src.tracking.run_guard import RunGuard

if TYPE_CHECKING:
    from mlflow.tracking import MlflowClient


class RunRecorder(Logger):
    """One logger that stands for several, and drops each of them at its first error.

    As a context it opens the run with its parameters and tags, and closes it: as failed if an
    exception passes through, as killed if a signal ended the process. If this process is killed,
    MLflow runs are marked as failed, too. A `Trainer` takes the recorder as its logger. A tracking
    server that is down, or goes down, thus ends neither a training nor an evaluation.

    Args:
        loggers: where to record.
        parameters: the configuration, nested as it is.
        tags: what else identifies the run.

    Attributes:
        failures: one message for each logger that failed.
    """

    name = version = ""  # Lightning would make folder names of them.

    def __init__(
        self,
        loggers: Sequence[Logger],
        parameters: Mapping[str, Any],
        tags: Mapping[str, str],
    ) -> None:
        super().__init__()
        self._working = list(loggers)
        self._parameters = dict(parameters)
        self._tags = dict(tags)
        self._guards: dict[Logger, RunGuard] = {}
        self.failures: list[str] = []

    def __enter__(self) -> Self:
        self._call_each(self._open)
        self.log_hyperparams(self._parameters)
        return self

    def __exit__(self, exception_type: type[BaseException] | None, *_: object) -> None:
        status = "success"
        if exception_type is not None:  # SystemExit and KeyboardInterrupt are no `Exception`
            status = "failed" if issubclass(exception_type, Exception) else "KILLED"
        self._call_each(lambda logger: logger.finalize(status))
        for logger, guard in self._guards.items():
            guard.end(is_closed=logger in self._working)

    def log_metrics(self, metrics: Mapping[str, float], step: int | None = None) -> None:
        """Record numbers by name."""
        self._call_each(lambda logger: logger.log_metrics(dict(metrics), step))

    def log_hyperparams(self, params: dict[str, Any] | Namespace, *_: Any, **__: Any) -> None:
        """Record parameters, nested or not."""
        self._call_each(lambda logger: logger.log_hyperparams(params))

    def log_dataset(self, data_dir: str | Path, digest: str, counts: Mapping[str, int]) -> None:
        """Tell MLflow what was evaluated; other loggers have no place for data sets.

        Args:
            data_dir: the folder of the data, whose name becomes that of the data set.
            digest: of the data; MLflow keeps the first 36 characters.
            counts: what else is to be shown, by name.
        """
        used = describe_dataset(Path(data_dir), digest, counts)
        self._call_mlflow(lambda client, run_id: client.log_inputs(run_id, [used]))

    def log_artifact(self, path: Path) -> None:
        """Copy a file or folder to every MLflow run; other loggers keep no files."""
        self._call_mlflow(lambda client, run_id: client.log_artifact(run_id, str(path)))

    def save(self) -> None:
        """Let the loggers write what they hold back."""
        self._call_each(lambda logger: logger.save())

    def after_save_checkpoint(self, checkpoint_callback: ModelCheckpoint) -> None:
        """Tell the loggers of a new checkpoint."""
        self._call_each(lambda logger: logger.after_save_checkpoint(checkpoint_callback))

    def finalize(self, status: str) -> None:
        """Save. The end of a `Trainer` is not that of the run, which the context closes."""
        self.save()

    def how_to_open(self) -> list[str]:
        """Return the address of every MLflow run, or the command that shows a local one."""
        return [how_to_open(each) for each in self._working if isinstance(each, MLFlowLogger)]

    def _open(self, logger: Logger) -> None:
        if isinstance(logger, MLFlowLogger):
            logger.tags = {**(logger.tags or {}), **self._tags}
            assert logger.run_id is not None  # reading it creates the run
            self._guards[logger] = RunGuard(logger.experiment.tracking_uri, logger.run_id)

    def _call_mlflow(self, action: Callable[["MlflowClient", str], None]) -> None:
        def call(logger: Logger) -> None:
            if isinstance(logger, MLFlowLogger):
                assert logger.run_id is not None
                action(logger.experiment, logger.run_id)

        self._call_each(call)

    def _call_each(self, action: Callable[[Logger], None]) -> None:
        for logger in list(self._working):
            try:
                action(logger)
            except Exception as error:  # whatever a client library raises about its server
                self._working.remove(logger)
                self.failures.append(f"{type(logger).__name__}: {error}")
