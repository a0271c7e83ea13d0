"""What a run told its loggers, so that it can be told to others later."""

import json
import os
from argparse import Namespace
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

JOURNAL_FILE = "unrecorded.json"

_PATH = "$path"  # the one key of an object that stands for a path, relative to the folder


@dataclass
class Journal:
    """The calls of a recorder in their order.

    Attributes:
        parameters: of the run.
        tags: likewise.
        title: likewise.
        calls: names of methods, and their arguments.
    """

    parameters: Mapping[str, Any]
    tags: Mapping[str, str]
    title: str | None
    calls: list[tuple[str, list[Any], dict[str, Any]]] = field(default_factory=list)

    def write(self, folder: Path) -> None:
        """Write the journal to the folder of the run.

        Raises:
            OSError: if that fails.
        """

        def encode(value: object) -> object:
            if isinstance(value, Path):
                return {_PATH: os.path.relpath(value, folder)}
            return vars(value) if isinstance(value, Namespace) else str(value)

        folder.mkdir(parents=True, exist_ok=True)
        text = json.dumps(asdict(self), indent=2, default=encode)
        (folder / JOURNAL_FILE).write_text(text + "\n")


def read_journal(folder: Path) -> Journal:
    """Read the journal of a run.

    Raises:
        FileNotFoundError: if there is none.
        ValueError: if it is damaged.
    """

    def decode(value: dict[str, Any]) -> Any:
        return folder / value[_PATH] if value.keys() == {_PATH} else value

    file = folder / JOURNAL_FILE
    if not file.is_file():
        raise FileNotFoundError(
            f"No {JOURNAL_FILE} in {folder}: `run` should be the folder of a run whose loggers "
            "failed; other runs have nothing left to record"
        )
    try:
        return Journal(**json.loads(file.read_text(), object_hook=decode))
    except (ValueError, TypeError) as error:
        raise ValueError(f"{file} should be what a run wrote, is it damaged? {error}") from error
