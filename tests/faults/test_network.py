"""No command needs a network but for its tracking server."""

import socket
from collections.abc import Callable

import pytest

from tests.faults.fault import Case, Fault


@pytest.mark.parametrize("task", ["eval", "train"])
def test_nothing_is_looked_up_or_connected(
    task: str,
    case: Case,
    provoke: Callable[[Fault], str],
    mlflow_uri: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    asked: list[object] = []

    def refuse(*arguments: object, **_: object) -> None:
        asked.append(arguments)
        raise OSError("no network")

    for name in ("connect", "connect_ex", "sendto"):
        monkeypatch.setattr(socket.socket, name, refuse)
    monkeypatch.setattr(socket, "getaddrinfo", refuse)
    options = ["logger=mlflow", f"logger.mlflow.tracking_uri={mlflow_uri}"]
    if task == "eval":
        options += ["callbacks=default"]
    provoke(Fault("", "Open in MLflow", lambda _: options, code=0, task=task))
    assert asked == []
