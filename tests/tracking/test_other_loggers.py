"""TensorBoard and Weights & Biases, without a network."""

from pathlib import Path

import pytest

from src.eval import evaluate
from src.report.headlines import sum_up
from src.train import train
from tests.conftest import ComposeConfig


def test_tensorboard_and_csv_together(train_config: ComposeConfig, tmp_path: Path) -> None:
    pytest.importorskip("tensorboard", reason="the extra tensorboard is not installed")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    options = ["logger=[tensorboard,csv]", "test=true", "analysis.report=false"]
    metrics, objects = train(train_config(*options))
    assert objects["recorder"].failures == []
    events = EventAccumulator(str(tmp_path / "run" / "tensorboard"))
    events.Reload()
    assert len(events.Scalars("train/loss")) == 2
    for name, value in metrics.items():
        assert events.Scalars(name)[-1].value == pytest.approx(value.item()), name
    (table,) = (tmp_path / "run" / "csv").rglob("metrics.csv")
    assert {"train/loss", "test/acc"} <= set(table.read_text().splitlines()[0].split(","))
    (parameters,) = (tmp_path / "run" / "csv").rglob("hparams.yaml")
    assert "training_digest" in parameters.read_text()


def test_wandb_offline(
    eval_config: ComposeConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    wandb = pytest.importorskip("wandb", reason="the extra wandb is not installed")
    monkeypatch.setenv("WANDB_SILENT", "true")
    names = {"first", "second"}
    for name in names:
        cfg = eval_config("logger=wandb", "logger.wandb.offline=true", f"logger.wandb.name={name}")
        metrics, objects = evaluate(cfg)
        assert objects["recorder"].failures == []
    wandb.teardown()  # its own process writes the files
    runs = [path.read_bytes() for path in (tmp_path / "run" / "wandb").rglob("*.wandb")]
    assert len(runs) == 2  # though one process has evaluated twice
    assert {name for run in runs for name in names if name.encode() in run} == names
    accuracy = str(metrics["test/acc"].item())
    for run in runs:
        for text in ("test/acc", accuracy, "dataset_digest", sum_up(objects["evaluation"])):
            assert text.encode() in run
