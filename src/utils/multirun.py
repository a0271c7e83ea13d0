"""What is done before the first run of a command and after its last one."""

import sys
import tempfile
from pathlib import Path
from typing import Any

from hydra.core.hydra_config import HydraConfig
from hydra.experimental.callback import Callback
from hydra.types import RunMode
from omegaconf import DictConfig

_TRIED_BYTES = 2**20

_failures: list[str] = []


def is_multirun() -> bool:
    """Tell whether Hydra runs the task several times."""
    return HydraConfig.initialized() and HydraConfig.get().mode is RunMode.MULTIRUN


def note_failure(message: str) -> None:
    """Remember why one run of a multirun failed."""
    hydra = HydraConfig.get()
    reason = message.splitlines()[0]
    _failures.append(f"  #{hydra.job.num} {' '.join(hydra.overrides.task)}: {reason}")


class RunEnds(Callback):
    """Try the output folder before a run, and list the failures of a multirun at its end."""

    def on_run_start(self, config: DictConfig, **_: Any) -> None:
        """Exit with a sentence if nothing can be written."""
        _try_folder(config.hydra.run.dir)

    def on_multirun_start(self, config: DictConfig, **_: Any) -> None:
        """Exit with a sentence if nothing can be written."""
        _try_folder(config.hydra.sweep.dir)

    def on_multirun_end(self, config: DictConfig, **_: Any) -> None:
        """Exit with code 1 if runs failed."""
        if _failures:
            runs = "run" if len(_failures) == 1 else "runs"
            sys.exit("\n".join([f"\nError: {len(_failures)} {runs} failed:", *_failures]))


def _try_folder(folder: str) -> None:
    try:
        Path(folder).mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder) as file:
            file.write(bytes(_TRIED_BYTES))
    except OSError as error:
        sys.exit(
            f"\nError: `paths.log_dir` should be a folder with space that can be written to, but "
            f"writing to {folder} fails: {error}"
        )
