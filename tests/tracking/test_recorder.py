import sys
import time
from pathlib import Path
from typing import Any

import pytest
from mlflow.tracking import MlflowClient
from pytorch_lightning.loggers import CSVLogger

from src.tracking.mlflow_logger import MLFlowLogger
from src.tracking.recorder import RunRecorder
from tests.helpers import only_run


def test_a_finished_run(mlflow_uri: str, tmp_path: Path) -> None:
    logger = MLFlowLogger("here", mlflow_uri, run_name="first")
    with RunRecorder([logger], {"a": {"b": 1}}, {"colour": "red"}) as recorder:
        recorder.log_metrics({"test/acc": 0.5})
    run = only_run(mlflow_uri)
    assert run.info.status == "FINISHED"
    assert run.info.run_name == "first"
    assert run.data.params == {"a/b": "1"}
    assert run.data.metrics == {"test/acc": 0.5}
    assert run.data.tags["colour"] == "red"
    assert run.info.artifact_uri.startswith((tmp_path / "mlruns").as_uri())
    assert f"mlflow ui --backend-store-uri {mlflow_uri}" in recorder.how_to_open()[0]
    page = f"runs/{run.info.run_id}?workflowType=machine_learning"
    assert recorder.how_to_open()[0].endswith(page)


def test_a_run_is_named_after_what_it_is(mlflow_uri: str) -> None:
    with RunRecorder([MLFlowLogger("here", mlflow_uri)], {}, {}, title="small on market"):
        pass
    assert only_run(mlflow_uri).info.run_name == "small on market"


def test_system_metrics(mlflow_uri: str, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("psutil", reason="the extra system-metrics is not installed")
    monkeypatch.setenv("MLFLOW_SYSTEM_METRICS_SAMPLING_INTERVAL", "0.1")
    with RunRecorder([MLFlowLogger("here", mlflow_uri, log_system_metrics=True)], {}, {}):
        deadline = time.monotonic() + 60
        while not (metrics := only_run(mlflow_uri).data.metrics):
            assert time.monotonic() < deadline
            time.sleep(0.1)
    assert metrics["system/system_memory_usage_megabytes"] > 0
    assert "system/cpu_utilization_percentage" in metrics


def test_system_metrics_need_psutil(mlflow_uri: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "psutil", None)
    with pytest.raises(ValueError, match=r"`log_system_metrics` needs psutil: pip install psutil"):
        MLFlowLogger("here", mlflow_uri, log_system_metrics=True)


def test_which_checkpoints_is_checked(mlflow_uri: str) -> None:
    with pytest.raises(ValueError, match=r"`log_checkpoints` should be one of .* got 'last'"):
        MLFlowLogger("here", mlflow_uri, log_checkpoints="last")  # type: ignore[arg-type]


def test_artifacts_are_kept_by_mlflow_alone(mlflow_uri: str, tmp_path: Path) -> None:
    (tmp_path / "pictures").mkdir()
    (tmp_path / "pictures" / "one.png").write_bytes(b"1")
    loggers = [CSVLogger(tmp_path / "csv"), MLFlowLogger("here", mlflow_uri)]
    with RunRecorder(loggers, {}, {}) as recorder:
        recorder.log_artifact(tmp_path / "pictures" / "one.png")
        recorder.log_artifact(tmp_path / "pictures")
    assert recorder.failures == []
    client, run_id = MlflowClient(mlflow_uri), only_run(mlflow_uri).info.run_id
    kept = [a.path for folder in ("", "pictures") for a in client.list_artifacts(run_id, folder)]
    assert kept == ["one.png", "pictures", "pictures/one.png"]


def test_a_missing_artifact_costs_a_logger_not_the_result(mlflow_uri: str, tmp_path: Path) -> None:
    with RunRecorder([MLFlowLogger("here", mlflow_uri)], {}, {}) as recorder:
        recorder.log_artifact(tmp_path / "nowhere")
    (failure,) = recorder.failures
    assert failure.startswith("MLFlowLogger: ")
    assert only_run(mlflow_uri).info.status == "FAILED"


def test_a_run_that_can_be_recorded_nowhere(mlflow_uri: str, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    logger = MLFlowLogger("here", mlflow_uri)
    with RunRecorder([logger], {}, {}, folder=tmp_path / "file" / "run") as recorder:
        recorder.log_artifact(tmp_path / "nowhere")
    of_logger, of_journal = recorder.failures
    assert of_logger.startswith("MLFlowLogger: ")
    assert of_journal.startswith("nor kept for later: [Errno 20] Not a directory: ")


def test_a_failed_run(mlflow_uri: str) -> None:
    def fail() -> None:
        with RunRecorder([MLFlowLogger("here", mlflow_uri)], {}, {}):
            raise RuntimeError("halfway")

    with pytest.raises(RuntimeError, match=r"halfway"):
        fail()
    assert only_run(mlflow_uri).info.status == "FAILED"


def test_a_failing_logger_is_left_out_and_reported(tmp_path: Path) -> None:
    class BrokenLogger(CSVLogger):
        calls = 0

        def log_hyperparams(self, params: Any = None) -> None:
            self.calls += 1
            raise ConnectionError("no route to host")

        log_metrics = finalize = log_hyperparams

    broken = BrokenLogger(tmp_path / "broken")
    working = CSVLogger(tmp_path / "working", name="", version="")
    with RunRecorder([broken, working], {"a": 1}, {}) as recorder:
        recorder.log_metrics({"test/acc": 0.5})
    assert recorder.failures == ["BrokenLogger: no route to host"]
    assert broken.calls == 1
    assert "0.5" in (tmp_path / "working" / "metrics.csv").read_text()
    assert recorder.how_to_open() == []
