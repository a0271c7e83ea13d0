"""Write docs/faults.md from the tests: python -m tests.faults.page."""

from collections.abc import Iterable

from tests import test_distributed_eval
from tests.conftest import ROOT
from tests.faults import (
    test_checkpoints,
    test_comparisons,
    test_data,
    test_options,
    test_processes,
    test_tables,
    test_tracking,
)
from tests.faults.fault import Fault, Faults

PAGE = ROOT / "docs" / "faults.md"

SECTIONS: tuple[Faults, ...] = (
    test_data.FAULTS,
    test_tables.FAULTS,
    test_checkpoints.FAULTS,
    test_options.FAULTS,
    test_comparisons.FAULTS,
    test_tracking.FAULTS,
    test_processes.FAULTS,
    test_distributed_eval.FAULTS,
)

_HEAD = """# Faults

What a user sees when something is wrong. A test provokes each fault and looks for the message.
`python -m tests.faults.page` writes this page from the tests. A part in angle brackets varies.

- Exit code 0: the number is right for the data as they are, but the data may not be what is meant.
  The warning stands beside the number, in `result.json`, in the report and in the tags of the run.
- Exit code 1: there is no result, or a logger failed. A result is printed and written before any
  logger gets it, and `python record.py run=<folder>` records the run later.
- Exit codes 130 and 143: Ctrl-C or SIGTERM ended the command.

An error is a sentence. The traceback is in `error.log` in the folder of the run.

Some faults cannot be told: safetensors files, ONNX files and checkpoints of torch 1.5 and older
hold no checksums.
"""


def write(sections: Iterable[Faults]) -> str:
    """Return the page."""
    return "\n".join([_HEAD, *(_section(each) for each in sections)])


def _section(faults: Faults) -> str:
    rows = [_row(each) for each in faults]
    head = ["| fault | what the user sees | exit code |", "|---|---|---|"]
    return "\n".join([f"## {faults.title}", "", *head, *rows, ""])


def _row(fault: Fault) -> str:
    shown = " ".join(fault.shown.split()).replace("|", "\\|")
    text = f"`` {shown} ``" if "`" in shown else f"`{shown}`"
    code = fault.code if fault.code >= 0 else f"signal {-fault.code}"
    return f"| {fault.name} | {text} | {code} |"


if __name__ == "__main__":
    PAGE.write_text(write(SECTIONS))
