"""Record a run with any of Lightning's loggers, and survive the loggers that fail."""

import sqlite3
import sys
from argparse import Namespace
from collections.abc import Callable, Mapping, Sequence
from functools import wraps
from pathlib import Path
from typing import Any, Concatenate, ParamSpec, Self

from pytorch_lightning.callbacks import ModelCheckpoint
from pytorch_lightning.loggers import Logger
from torch import Tensor, nn

from src.tracking.journal import Journal
from src.tracking.mlflow_logger import MLFlowLogger, describe_dataset
from src.tracking.run_guard import RunGuard
from src.tracking.wandb_logger import WandbLogger
from src.utils.secrets import without_passwords

_P = ParamSpec("_P")


def _noted(
    method: Callable[Concatenate["RunRecorder", _P], None],
) -> Callable[Concatenate["RunRecorder", _P], None]:
    """Note the calls of a method for those loggers that fail."""

    @wraps(method)
    def note(self: "RunRecorder", /, *args: _P.args, **kwargs: _P.kwargs) -> None:
        self._journal.calls.append((method.__name__, list(args), dict(kwargs)))
        method(self, *args, **kwargs)

    return note


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
        title: the name of the run; None lets MLflow invent one.
        folder: of the run, where it is kept what a logger that failed should have recorded; None
            if the run has none.

    Attributes:
        failures: one message for each logger that failed.
    """

    name = version = ""  # Lightning would make folder names of them.

    def __init__(
        self,
        loggers: Sequence[Logger],
        parameters: Mapping[str, Any],
        tags: Mapping[str, str],
        *,
        title: str | None = None,
        folder: Path | None = None,
    ) -> None:
        super().__init__()
        self._working = list(loggers)
        self._parameters = dict(parameters)
        self._tags = dict(tags)
        self._title = title
        self._folder = folder
        self._journal = Journal(self._parameters, dict(tags), title)
        self._guards: dict[Logger, RunGuard] = {}
        self.failures: list[str] = []

    def __enter__(self) -> Self:
        self._call_each(self._open)
        return self

    def __exit__(self, exception_type: type[BaseException] | None, *_: object) -> None:
        status = "success"
        if exception_type is not None:  # SystemExit and KeyboardInterrupt are no `Exception`
            status = "failed" if issubclass(exception_type, Exception) else "KILLED"
        self._call_each(lambda logger: logger.finalize(status))
        for logger, guard in self._guards.items():
            guard.end(is_closed=logger in self._working)
        if self.failures and self._folder is not None and exception_type is None:
            self._keep_journal(self._folder)

    @_noted
    def log_metrics(self, metrics: Mapping[str, float], step: int | None = None) -> None:
        """Record numbers by name."""
        self._call_each(lambda logger: logger.log_metrics(dict(metrics), step))

    @_noted
    def log_hyperparams(self, params: dict[str, Any] | Namespace, *_: Any, **__: Any) -> None:
        """Record parameters, nested or not."""
        self._call_each(lambda logger: logger.log_hyperparams(params))

    @_noted
    def log_tags(self, tags: Mapping[str, str]) -> None:
        """Tell MLflow what else identifies the run, or became known of it."""
        new = {name: tag for name, tag in tags.items() if self._tags.get(name) != tag}
        self._tags |= tags
        self._call_mlflow(lambda logger: logger.set_tags(new))

    @_noted
    def log_curve(self, name: str, values: Sequence[float]) -> None:
        """Draw a curve in MLflow: a metric at the steps 1, 2, 3 and so on."""
        self._call_mlflow(lambda logger: logger.log_curve(name, values))

    @_noted
    def log_dataset(
        self, data_dir: str | Path, digest: str, counts: Mapping[str, int], context: str
    ) -> None:
        """Tell MLflow what data were used; other loggers have no place for data sets.

        Args:
            data_dir: the folder of the data, whose name becomes that of the data set.
            digest: of the data; MLflow keeps the first 36 characters.
            counts: what else is to be shown, by name.
            context: what the data were used for, such as "test".
        """

        def log(logger: MLFlowLogger) -> None:
            used = describe_dataset(Path(data_dir), digest, counts, context)
            logger.client.log_inputs(logger.run_id, [used])

        self._call_mlflow(log)

    @_noted
    def log_artifact(self, path: Path) -> None:
        """Copy a file or folder to every MLflow run; other loggers keep no files."""
        self._call_mlflow(lambda logger: logger.client.log_artifact(logger.run_id, str(path)))

    @_noted
    def log_checkpoints(self, best: Path, others: Sequence[Path]) -> None:
        """Copy the checkpoints of a training to every MLflow run that wants them."""

        def log(logger: MLFlowLogger) -> None:
            paths = {"none": [], "best": [best], "all": [best, *others]}[logger.log_checkpoints]
            for path in paths:
                logger.client.log_artifact(logger.run_id, str(path), "checkpoints")

        self._call_mlflow(log)

    @property
    def wants_network(self) -> bool:
        """Whether any MLflow run is to have the network as a model."""
        return any(isinstance(each, MLFlowLogger) and each.log_model for each in self._working)

    def log_network(self, network: nn.Module, example: Tensor) -> None:
        """Make a network the model of every MLflow run that wants one, now or never.

        Args:
            network: on the CPU, from images [B, 3, H, W] to embeddings [B, D].
            example: images [2, 3, H, W].
        """

        def log(logger: MLFlowLogger) -> None:
            if logger.log_model:
                logger.log_network(network, example)

        self._call_mlflow(log)

    @_noted
    def log_table(self, columns: Mapping[str, list[Any]], file: str) -> None:
        """Show a table in every MLflow run, under the name of a JSON file."""
        table = dict(columns)
        self._call_mlflow(lambda logger: logger.client.log_table(logger.run_id, table, file))

    @_noted
    def describe(self, text: str) -> None:
        """Say on the page of every run that has one what came out."""

        def describe(logger: Logger) -> None:
            if isinstance(logger, MLFlowLogger | WandbLogger):
                logger.describe(text)

        self._call_each(describe)

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
        return [each.how_to_open() for each in self._working if isinstance(each, MLFlowLogger)]

    def _open(self, logger: Logger) -> None:
        parameters = self._parameters
        if isinstance(logger, MLFlowLogger):
            run_id = logger.open_run(self._title, self._tags)
            self._guards[logger] = RunGuard(logger.client.tracking_uri, run_id)
        else:  # the others know no tags
            parameters = {**parameters, "run": self._tags}
        if isinstance(logger, WandbLogger):
            logger.open_run(self._title)
        logger.log_hyperparams(parameters)

    def _call_mlflow(self, action: Callable[[MLFlowLogger], object]) -> None:
        def call(logger: Logger) -> None:
            if isinstance(logger, MLFlowLogger):
                action(logger)

        self._call_each(call)

    def _call_each(self, action: Callable[[Logger], None]) -> None:
        for logger in list(self._working):
            try:
                action(logger)
            except Exception as error:  # whatever a client library raises about its server
                self._working.remove(logger)
                kind = getattr(logger, "kind", type(logger).__name__)
                self._report(f"{kind}: {_reason(error)}")

    def _keep_journal(self, folder: Path) -> None:
        try:
            self._journal.write(folder)
        except OSError as error:
            self._report(f"nor kept for later: {error}")
        else:
            self.failures[-1] += f". To record it later: python record.py run={folder}"

    def _report(self, failure: str) -> None:
        """Say at once that a logger failed, which may be hours before the end."""
        self.failures.append(failure)
        print(f"Warning: NOT recorded: {failure}", file=sys.stderr, flush=True)


def _reason(error: BaseException) -> str:
    """Return what lies behind the error of a client library, in a line."""
    causes = [error]
    while (cause := causes[-1].__cause__ or causes[-1].__context__) is not None:
        causes.append(cause)
    roots = [each for each in causes if isinstance(each, OSError | sqlite3.Error)]
    text = " ".join(str(roots[-1] if roots else error).split())
    return without_passwords(text) or type(error).__name__
