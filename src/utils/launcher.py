"""End a process of a distributed job with the one that launched it.

Until the processes have found each other, which takes as long as imports and longer, nothing else
tells a process that the first one is gone. This module imports nothing that is slow to import.
"""

import os
import sys
import threading
import time

_LAUNCHER = "EXACT_RETRIEVAL_LAUNCHER"
_SECONDS_BETWEEN_LOOKS = 0.5
_SECONDS_TO_END = 5


def end_with_launcher() -> None:
    """Become the launcher, or watch that of this process for as long as it lives."""
    if "LOCAL_RANK" not in os.environ:
        os.environ[_LAUNCHER] = str(os.getpid())
    launcher = _launcher()
    if launcher is not None:
        threading.Thread(target=_watch, args=[launcher], daemon=True).start()


def end_after_launcher() -> None:
    """Wait until the launcher has ended, though not for long.

    Lightning kills the launcher, whatever it is doing, when it sees that another process has ended.
    """
    launcher, deadline = _launcher(), time.monotonic() + 2 * _SECONDS_TO_END
    while os.getppid() == launcher and time.monotonic() < deadline:
        time.sleep(_SECONDS_BETWEEN_LOOKS)


def _launcher() -> int | None:
    """Return the process that launched this one; torchrun looks after its processes itself."""
    launcher = int(os.environ.get(_LAUNCHER, os.getpid()))
    return None if launcher == os.getpid() or "TORCHELASTIC_RUN_ID" in os.environ else launcher


def _watch(launcher: int) -> None:
    while os.getppid() == launcher:
        time.sleep(_SECONDS_BETWEEN_LOOKS)
    time.sleep(_SECONDS_TO_END)  # by itself, where both got a signal or both are done
    rank = os.environ["LOCAL_RANK"]
    print(f"\nError: rank 0 ended early, so rank {rank} ends too", file=sys.stderr, flush=True)
    os._exit(1)
