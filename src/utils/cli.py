"""Run a task for a person at the terminal, who needs a sentence when something is wrong."""

import os
import re
import signal
import sys
import traceback
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from hydra.errors import InstantiationException
from hydra.utils import get_method
from omegaconf import DictConfig

from src.utils.imports import loaded_later, without_garbage_collection

_FREE_NODES = re.compile(r"model\.(module|options)\.(?!_)")


def free_options(arguments: Sequence[str]) -> list[str]:
    """Let overrides add the options of a network that only its own class knows.

    Hydra asks for a plus before options that its files do not name; here none is needed.

    Example:
        >>> free_options(["model=module", "model.module.width=64"])
        ['model=module', '++model.module.width=64']
    """
    return [f"++{each}" if _FREE_NODES.match(each) else each for each in arguments]


def run_task(path: str, cfg: DictConfig) -> None:
    """Run a task, and exit with code 1 if the user made an error or a logger failed.

    Errors that the user can correct are ValueError, OSError (such as a missing file) and what Hydra
    raises for arguments that a class does not take. They become a message, and the traceback goes
    to `error.log` in the folder of the run; other processes of a distributed job write
    `error_rank_1.log` and so on. Any other exception is a bug and passes.

    The task is imported here, because torch, Lightning and MLflow take seconds that `--help` and a
    misspelt option should not cost.

    Args:
        path: of a function that takes `cfg` and returns metrics and objects, "recorder" among them.
        cfg: the composed configuration.
    """
    try:
        with _exit_on_signal(cfg.paths.output_dir):
            with without_garbage_collection(), loaded_later("scipy.signal"):
                task = get_method(path)
            _, objects = task(cfg)
    except (ValueError, OSError, InstantiationException) as error:
        rank = _rank()
        log_path = Path(cfg.paths.output_dir, f"error_rank_{rank}.log" if rank else "error.log")
        log_path.parent.mkdir(parents=True, exist_ok=True)
        log_path.write_text(traceback.format_exc())
        error_of = f"Error of rank {rank}" if rank else "Error"
        sys.exit(f"\n{error_of}: {_message(error)}\n(traceback: {log_path})")
    if objects["recorder"].failures:
        sys.exit(1)


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
        os._exit(128 + received[0])  # a thread that waits for another process cannot end


def _rank() -> int:
    return int(os.environ.get("RANK") or os.environ.get("LOCAL_RANK") or 0)


def _message(error: BaseException) -> str:
    if isinstance(error, InstantiationException) and error.__cause__ is not None:
        return _message(error.__cause__)
    text = str(error).strip()
    # The error of a DataLoader worker arrives with its traceback in its text.
    return text.rsplit(f"{type(error).__name__}: ", 1)[-1] if text.startswith("Caught ") else text
