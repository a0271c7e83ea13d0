"""MLflow stores and servers that cannot be used: the result is shown and written all the same."""

import json
import shutil
import socket
import sqlite3
from collections.abc import Callable
from pathlib import Path

import pytest
from mlflow.tracking import MlflowClient

from tests.faults.fault import Case, Fault, Faults, run
from tests.helpers import only_run

FAULTS = Faults("MLflow and other loggers")
RESULT = "test/acc"
LATER = "To record it later: python record.py run=<folder>"


def use(uri: str) -> list[str]:
    return ["logger=mlflow", f"logger.mlflow.tracking_uri={uri}"]


def copy_store(case: Case) -> tuple[Path, list[str]]:
    path = case.folder / "store.db"
    shutil.copy(case.folder / "mlflow.db", path)
    return path, use(f"sqlite:///{path}")


@FAULTS.add(
    "The server is down", f"NOT recorded: <logger>: [Errno 111] Connection refused. {LATER}"
)
def _(case: Case) -> list[str]:
    return use("http://127.0.0.1:9")


@FAULTS.add("The server does not exist", "NOT recorded: <logger>: <reason>")
def _(case: Case) -> list[str]:
    return use("http://nowhere.invalid")


@FAULTS.add("The database is locked", f"NOT recorded: <logger>: database is locked. {LATER}")
def _(case: Case) -> list[str]:
    path, options = copy_store(case)
    lock = sqlite3.connect(path)
    lock.execute("begin exclusive")
    case.kept.append(lock)
    return options


@FAULTS.add("The database is something else", "NOT recorded: <logger>: file is not a database")
def _(case: Case) -> list[str]:
    path, options = copy_store(case)
    path.write_bytes(bytes(range(256)) * 20)
    return options


@FAULTS.add(
    "The database was made by a newer MLflow",
    "NOT recorded: <logger>: Detected out-of-date database schema (found version ffff, ",
)
def _(case: Case) -> list[str]:
    path, options = copy_store(case)
    with sqlite3.connect(path) as database:
        database.execute("update alembic_version set version_num = 'ffff'")
    database.close()
    return options


@FAULTS.add(
    "The database is a folder", "NOT recorded: <logger>: <folder> is a folder, and no database"
)
def _(case: Case) -> list[str]:
    (case.folder / "folder.db").mkdir()
    return use(f"sqlite:///{case.folder / 'folder.db'}")


@FAULTS.add(
    "The folder of the database cannot be made",
    "NOT recorded: <logger>: [Errno 17] File exists: <file>",
)
def _(case: Case) -> list[str]:
    (case.folder / "file").touch()
    return use(f"sqlite:///{case.folder / 'file' / 'mlflow.db'}")


@FAULTS.add(
    "The store is a folder of files", "NOT recorded: <logger>: The filesystem tracking backend"
)
def _(case: Case) -> list[str]:
    return use(f"file:{case.folder / 'mlruns'}")


@FAULTS.add(
    "The driver of the database is missing", "NOT recorded: <logger>: No module named 'psycopg"
)
def _(case: Case) -> list[str]:
    return use("postgresql://alice:S3cretPw@localhost/runs")


@FAULTS.add(
    "The address is of no known kind", "NOT recorded: <logger>: <reason> unsupported URI 'gopher:"
)
def _(case: Case) -> list[str]:
    return use("gopher://host")


@FAULTS.add("The server never answers", f"NOT recorded: <logger>: timed out. {LATER}")
def _(case: Case) -> list[str]:
    server = socket.create_server(("127.0.0.1", 0))
    case.kept.append(server)
    return use(f"http://127.0.0.1:{server.getsockname()[1]}")


@FAULTS.add(
    "The folder of CSV files cannot be made", "NOT recorded: CSVLogger: [Errno 20] Not a dir"
)
def _(case: Case) -> list[str]:
    (case.folder / "file").touch()
    return ["logger=csv", f"logger.csv.save_dir={case.folder / 'file'}"]


@FAULTS.add(
    "The server is down during a training",
    f"NOT recorded: <logger>: [Errno 111] Connection refused. {LATER}",
    task="train",
)
def _(case: Case) -> list[str]:
    return use("http://127.0.0.1:9")


@FAULTS.parametrize()
@pytest.mark.usefixtures("mlflow_uri")
def test_fault(
    fault: Fault, provoke: Callable[[Fault], str], case: Case, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_TIMEOUT", "1")
    output = provoke(fault)
    assert "S3cretPw" not in output
    file, name = {"eval": ("result.json", "test/acc"), "train": ("training.json", "val/acc")}[
        fault.task
    ]
    assert name in output
    assert output.count("NOT recorded") == 2  # at once and at the end
    assert name in json.loads((case.folder / "run" / file).read_text())["metrics"]


def test_a_run_is_recorded_later(
    case: Case, mlflow_uri: str, provoke: Callable[[Fault], str], capsys: pytest.CaptureFixture[str]
) -> None:
    report = ["callbacks=default", "analysis.pictures=false"]
    fault = Fault("", "record.py", lambda case: [*use("http://127.0.0.1:9"), *report])
    provoke(fault)
    folder = case.folder / "run"
    folder.rename(case.folder / "moved")
    cfg = case.compose("record", *use(mlflow_uri), f"run={case.folder / 'moved'}")
    assert run("record", cfg, capsys).code == 0
    recorded = only_run(mlflow_uri)
    assert recorded.info.status == "FINISHED"
    written = json.loads((case.folder / "moved" / "result.json").read_text())
    assert recorded.data.metrics.pop("test/cmc") == 1  # up to rank 50
    assert recorded.data.metrics == written["metrics"]
    assert written["tags"].items() <= recorded.data.tags.items()
    assert recorded.data.params["ckpt_path"] == str(case.checkpoint)
    client = MlflowClient(mlflow_uri)
    assert client.get_experiment(recorded.info.experiment_id).name == "eval"
    artifacts = {each.path for each in client.list_artifacts(recorded.info.run_id)}
    assert artifacts == {"result.json", "predictions.parquet", "report.html", "identities.json"}
    again = run("record", cfg, capsys)
    assert again.code == 1
    assert "`run` should be the folder of a run whose loggers failed" in again.output
