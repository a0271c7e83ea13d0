"""Faults that a user may run into, each provoked for real."""

import re
import shutil
import warnings
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

import pytest
from hydra import compose, initialize
from omegaconf import DictConfig

from src.utils.cli import run_task

TASKS = {
    "eval": "src.eval.evaluate",
    "train": "src.train.train",
    "compare": "src.compare.compare",
    "record": "src.record.record",
}
_OPTIONS = {
    "eval": ["trainer=cpu", "callbacks=none"],
    "compare": [],
    "record": [],
    "train": [
        "trainer=cpu",
        "initial_weights=random",
        "model.backbone=shufflenet_v2_x0_5",
        "model.embedding_size=16",
        "model.lr=0.01",
        "datamodule.batch_size=4",
        "trainer.max_epochs=1",
        "callbacks.progress_bar.refresh_rate=0",
    ],
}
_LINES = 100
_PLACE = re.compile(r"<[\w ]+>")


class Closable(Protocol):
    """A lock, a server or the like."""

    def close(self) -> None: ...


@dataclass
class Case:
    """Sound inputs, for a fault to spoil.

    Attributes:
        folder: an empty one.
        checkpoint: that of a small network.
        prepared_data: small data in the prepared layout.
        kept: open files and the like, which are closed after the command.
    """

    folder: Path
    checkpoint: Path
    prepared_data: Path
    kept: list[Closable] = field(default_factory=list)

    @property
    def data(self) -> Path:
        """A copy of the data, which is then evaluated."""
        copy = self.folder / "data"
        return copy if copy.exists() else shutil.copytree(self.prepared_data, copy)

    def image(self, name: str) -> Path:
        """Return the first image of a set in `data`."""
        return min((self.data / name).rglob("*.jpg"))

    def compose(self, task: str, *overrides: str) -> DictConfig:
        """Compose a configuration of a task that works on these inputs, without any logger."""
        options = [f"paths.output_dir={self.folder / 'run'}", "logger=none", *_OPTIONS[task]]
        if task == "eval":
            options.append(f"ckpt_path={self.checkpoint}")
        if task in ("eval", "train") and "datamodule=listing" not in overrides:
            copy = self.folder / "data"
            options.append(f"datamodule.data_dir={copy if copy.exists() else self.prepared_data}")
        with initialize(version_base="1.3", config_path="../../configs"):
            return compose(
                f"{task}.yaml", return_hydra_config=True, overrides=[*options, *overrides]
            )


Provoke = Callable[[Case], Iterable[str] | None]


@dataclass(frozen=True)
class Fault:
    """One row of docs/faults.md.

    Attributes:
        name: what is wrong.
        shown: what the user sees, with `<places>` for what varies.
        provoke: spoils the inputs of a case, and returns overrides of the configuration.
        code: exit code of the command.
        task: the command.
    """

    name: str
    shown: str
    provoke: Provoke = field(repr=False)
    code: int = 1
    task: str = "eval"

    @property
    def pattern(self) -> str:
        """A regular expression for what the user sees."""
        parts = _PLACE.split(self.shown)
        return ".+".join(re.escape(part) for part in parts)


class Faults(list[Fault]):
    """One section of docs/faults.md."""

    def __init__(self, title: str) -> None:
        super().__init__()
        self.title = title

    def add(
        self, name: str, shown: str, *, code: int = 1, task: str = "eval"
    ) -> Callable[[Provoke], Provoke]:
        """Add a fault that the decorated function provokes."""

        def add(provoke: Provoke) -> Provoke:
            self.append(Fault(name, shown, provoke, code, task))
            return provoke

        return add

    def describe(self, name: str, shown: str, *, code: int = 1) -> Fault:
        """Add and return a fault that a test of its own provokes."""
        self.append(Fault(name, shown, lambda _: None, code))
        return self[-1]

    def add_options(
        self, rows: Iterable[tuple[str, str, str]], *, code: int = 1, task: str = "eval"
    ) -> None:
        """Add faults that options provoke: name, options with blanks between them, what is seen."""
        for name, options, shown in rows:
            self.append(Fault(name, shown, lambda _, o=options: o.split(), code, task))

    def parametrize(self) -> pytest.MarkDecorator:
        """Make one test of each row."""
        return pytest.mark.parametrize("fault", self, ids=[fault.name for fault in self])


class Seen:
    """What a user saw of a command, and its exit code."""

    def __init__(self, output: str, code: int) -> None:
        self.output, self.code = output, code

    def check(self, fault: Fault) -> None:
        """Compare it with a row of the table."""
        assert re.search(fault.pattern, self.output), f"{fault.shown}\n--- seen:\n{self.output}"
        assert self.code == fault.code, self.output
        assert "Traceback" not in self.output
        assert len(self.output.splitlines()) < _LINES, self.output


def run(task: str, cfg: DictConfig, capsys: pytest.CaptureFixture[str]) -> Seen:
    """Run a task as its command does, in this process."""
    code, said = 0, ""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("default")
        try:
            run_task(TASKS[task], cfg)
        except SystemExit as exited:
            is_text = isinstance(exited.code, str)
            code, said = (1, str(exited.code)) if is_text else (int(exited.code or 0), "")
    shown = capsys.readouterr()
    told = "\n".join(str(each.message) for each in caught)
    return Seen("\n".join([shown.out, shown.err, told, said]), code)
