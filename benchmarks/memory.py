"""The memory that a process holds; NaN where there is no /proc, as Linux has it."""

import math
from pathlib import Path
from typing import Literal

_PROC = Path("/proc")


def resident_bytes(
    field: Literal["VmRSS", "VmHWM"], process: int | Literal["self"] = "self"
) -> float:
    """Return the resident memory of a process, that of now (`VmRSS`) or the most so far (`VmHWM`).

    `getrusage` would not do: the peak that it returns begins with that of the process's parent.

    Returns:
        Bytes; NaN for a process that has ended but has not been waited for.
    """
    if not _PROC.is_dir():
        return math.nan
    status = (_PROC / str(process) / "status").read_text()
    _, there, size = status.partition(f"{field}:")
    return int(size.split()[0]) * 1024 if there else math.nan


def reset_peak() -> None:
    """Begin the peak of this process with what it holds now."""
    if _PROC.is_dir():
        (_PROC / "self" / "clear_refs").write_text("5")
