"""Mark an MLflow run as failed when the process that writes it dies without a word.

A process that is killed, by SIGKILL or for want of memory, cannot say that its run failed. So a
small process of its own waits at the other end of a pipe: the pipe closes when the writer is gone,
however it went. It survives what kills a process or a job's other processes, not a machine.
"""

import subprocess
import sys
from typing import Self

_DONE = b"done"


class RunGuard:
    """Context in which a run is watched over; what leaves it in order has closed its run itself.

    Args:
        tracking_uri: where MLflow keeps the run.
        run_id: the run.
    """

    def __init__(self, tracking_uri: str, run_id: str) -> None:
        self._command = [sys.executable, "-P", __file__, tracking_uri, run_id]

    def __enter__(self) -> Self:
        # A session of its own, so that Ctrl-C in the terminal does not reach it.
        self._process = subprocess.Popen(
            self._command, stdin=subprocess.PIPE, start_new_session=True
        )
        return self

    def __exit__(self, *_: object) -> None:
        self._process.communicate(_DONE)


def main(tracking_uri: str, run_id: str) -> None:
    """Wait for the end of the writer, and close its run if the writer did not."""
    if sys.stdin.buffer.read() == _DONE:
        return
    from mlflow.tracking import MlflowClient  # takes seconds, which nobody should wait before

    client = MlflowClient(tracking_uri)
    if client.get_run(run_id).info.status == "RUNNING":
        client.set_terminated(run_id, "FAILED")


if __name__ == "__main__":
    main(*sys.argv[1:])
