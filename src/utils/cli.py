"""What a person at the terminal sees when something is wrong."""

import os
import sys
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from hydra.errors import InstantiationException


@contextmanager
def exit_on_user_error(output_dir: str | Path) -> Iterator[None]:
    """Turn an error that a user can mend into a message and exit code 1.

    Those are ValueError, OSError (missing files among them) and what Hydra raises for arguments
    that a class does not take. The traceback goes to `error.log`, or to `error_rank_1.log` and
    so on by other processes of a distributed job. Any other exception passes: it is a bug, and
    its traceback belongs on the screen.

    Args:
        output_dir: the folder of the run.
    """
    try:
        yield
    except (ValueError, OSError, InstantiationException) as error:
        rank = int(os.environ.get("RANK") or os.environ.get("LOCAL_RANK") or 0)
        log_path = Path(output_dir) / (f"error_rank_{rank}.log" if rank else "error.log")
        log_path.parent.mkdir(parents=True, exist_ok=True)
        log_path.write_text(traceback.format_exc())
        error_of = f"Error of rank {rank}" if rank else "Error"
        print(f"\n{error_of}: {_message(error)}\n(traceback: {log_path})", file=sys.stderr)
        sys.exit(1)


def _message(error: BaseException) -> str:
    if isinstance(error, InstantiationException) and error.__cause__ is not None:
        return _message(error.__cause__)
    text = str(error).strip()
    # A DataLoader worker hands on the error with its traceback as text.
    return text.rsplit(f"{type(error).__name__}: ", 1)[-1] if text.startswith("Caught ") else text
