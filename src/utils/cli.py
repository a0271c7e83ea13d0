"""Run a task for a person at the terminal, who needs a sentence when something is wrong."""

import os
import signal
import sys
import traceback
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from hydra.errors import InstantiationException
from hydra.utils import get_method
from omegaconf import DictConfig
from omegaconf.errors import MissingMandatoryValue, OmegaConfBaseException

from src.utils.imports import loaded_later, without_garbage_collection
from src.utils.launcher import end_after_launcher, end_with_launcher
from src.utils.multirun import is_multirun, note_failure
from src.utils.secrets import without_passwords

_USER_ERRORS = (ValueError, OSError, ImportError, InstantiationException, OmegaConfBaseException)


def run_task(path: str, cfg: DictConfig) -> None:
    """Run a task, and exit with code 1 if the user made an error or a logger failed.

    Errors that the user can correct are ValueError, OSError (such as a missing file) and what Hydra
    raises for arguments that a class does not take. They become a message, and the traceback goes
    to `error.log` in the folder of the run; other processes of a distributed job write
    `error_rank_1.log` and so on. Any other exception is a bug and passes. In a multirun the other
    runs go on, and the whole ends with code 1.

    The task is imported here, because torch, Lightning and MLflow take seconds that `--help` and a
    misspelt option should not cost.

    Args:
        path: of a function that takes `cfg` and returns metrics and objects, "recorder" among them.
        cfg: the composed configuration.
    """
    warnings.showwarning = _print_warning
    end_with_launcher()
    try:
        with _exit_on_signal(cfg.paths.output_dir):
            with without_garbage_collection(), loaded_later("scipy.signal"):
                task = get_method(path)
            _, objects = task(cfg)
    except _USER_ERRORS as error:
        _fail(without_passwords(_message(error)), f"\n({_keep_traceback(cfg.paths.output_dir)})")
    else:
        if objects["recorder"].failures:
            _fail("not recorded: " + "; ".join(objects["recorder"].failures), None)


def _fail(message: str, where: str | None) -> None:
    """End the process; in a multirun, leave that to the end of all runs.

    Args:
        message: what went wrong.
        where: the traceback is; None if the user has seen the message before.
    """
    error_of = f"Error of rank {_rank()}" if _rank() else "Error"
    shown = 1 if where is None else f"\n{error_of}: {message}{where}"
    if not is_multirun():
        sys.exit(shown)
    if where is not None:
        print(shown, file=sys.stderr)
    note_failure(message)


def _keep_traceback(output_dir: str) -> str:
    """Write the traceback to a file, and say where it is or why it is not."""
    rank = _rank()
    path = Path(output_dir, f"error_rank_{rank}.log" if rank else "error.log")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(without_passwords(traceback.format_exc()))
    except OSError as error:
        return f"no traceback: {error}"
    return f"traceback: {path}"


def _print_warning(message: Warning | str, *_: object, **__: object) -> None:
    """Print a warning as a sentence, without the line of code that gave it."""
    print(f"Warning: {message}", file=sys.stderr)


@contextmanager
def _exit_on_signal(output_dir: str) -> Iterator[None]:
    """Turn SIGTERM and SIGINT (Ctrl-C) into a message and the exit codes 143 and 130.

    Both raise an exception in the main thread, so that runs are closed and workers end.
    """
    received: list[int] = []

    def stop(signum: int, _: object) -> None:
        signal.signal(signum, signal.SIG_IGN)
        received.append(signum)
        raise KeyboardInterrupt if signum == signal.SIGINT else SystemExit

    for signum in (signal.SIGTERM, signal.SIGINT):
        signal.signal(signum, stop)
    try:
        yield
    except (SystemExit, KeyboardInterrupt):
        if not received:
            raise
        if _rank() == 0:
            name = signal.Signals(received[0]).name
            print(f"\nEnded by {name} before it was done. Its files: {output_dir}", file=sys.stderr)
        sys.stdout.flush()
        sys.stderr.flush()
        end_after_launcher()
        os._exit(128 + received[0])  # a thread that waits for another process cannot end


def _rank() -> int:
    return int(os.environ.get("RANK") or os.environ.get("LOCAL_RANK") or 0)


def _message(error: BaseException) -> str:
    if isinstance(error, InstantiationException) and error.__cause__ is not None:
        return _message(error.__cause__)
    if isinstance(error, MissingMandatoryValue):
        return f"`{error.full_key}` should be given: {error.full_key}=<value>"
    text = str(error).strip()
    # The error of a DataLoader worker arrives with its traceback in its text.
    return text.rsplit(f"{type(error).__name__}: ", 1)[-1] if text.startswith("Caught ") else text
