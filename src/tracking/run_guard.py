"""Mark an MLflow run as failed if the process that writes it dies without closing it.

A process that is killed cannot report that its run failed. A small second process therefore waits
at the other end of a pipe, which the operating system closes when the writer ends, for whatever
reason. It survives the end of all processes of a job, but not that of the machine.
"""

import subprocess
import sys

_CLOSED = b"closed"
_SECONDS_FOR_A_SERVER = 2

_left_alone: list[subprocess.Popen[bytes]] = []  # Python warns of processes that nothing refers to


class RunGuard:
    """A process that watches over a run of this process.

    Args:
        tracking_uri: where MLflow keeps the run.
        run_id: the run.
    """

    def __init__(self, tracking_uri: str, run_id: str) -> None:
        self._patience = _SECONDS_FOR_A_SERVER if tracking_uri.startswith("http") else None
        self._process = subprocess.Popen(
            [sys.executable, "-P", __file__],
            stdin=subprocess.PIPE,
            stderr=subprocess.DEVNULL,  # that a server is down was reported by this process
            start_new_session=True,  # so that Ctrl-C in the terminal does not reach it
        )
        assert self._process.stdin is not None
        # Not as arguments, which everybody on this machine can read: there may be a password.
        self._process.stdin.write(f"{tracking_uri}\n{run_id}\n".encode())
        self._process.stdin.flush()

    def end(self, *, is_closed: bool) -> None:
        """End the watch; a run that this process could not close is marked as failed.

        A server that does not answer is not waited for.
        """
        try:
            self._process.communicate(_CLOSED if is_closed else b"", self._patience)
        except subprocess.TimeoutExpired:
            _left_alone.append(self._process)


def main() -> None:
    """Wait for the end of the writer, and close its run if the writer did not."""
    tracking_uri, run_id, *rest = sys.stdin.read().splitlines()
    if rest == [_CLOSED.decode()]:
        return
    from mlflow.tracking import MlflowClient  # slow to import, and rarely needed

    client = MlflowClient(tracking_uri)
    if client.get_run(run_id).info.status == "RUNNING":
        client.set_terminated(run_id, "FAILED")


if __name__ == "__main__":
    main()
