import json
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hydra import compose, initialize
from mlflow.tracking import MlflowClient
from omegaconf import DictConfig

from src.compare import compare
from src.report.evaluation_folder import PREDICTIONS_FILE, RESULT_FILE
from src.tracking.mlflow_logger import MLFlowLogger
from src.tracking.recorder import RunRecorder
from tests.conftest import ROOT, save_image
from tests.report.evaluations import make_predictions, write_evaluation

RIGHT = [True, True, True, False, True, True, False, True, False, True, True, False]
BETTER = [True, True, True, True, True, False, True, True, True, True, True, False]
VERDICT = (
    "no difference in 1-NN accuracy shown: the 95 % interval includes 0; "
    "mAP is higher: its interval excludes 0"
)
SENTENCE = VERDICT[0].upper() + VERDICT[1:]
PRECISION = np.linspace(0.2, 0.8, 12)


@pytest.fixture
def baseline(tmp_path: Path) -> Path:
    predictions = make_predictions(RIGHT, average_precision=list(PRECISION))
    return write_evaluation(tmp_path / "a", predictions, checkpoint="models/<a> & b.ckpt")


@pytest.fixture
def candidate(tmp_path: Path) -> Path:
    predictions = make_predictions(BETTER, average_precision=list(PRECISION**0.5))
    return write_evaluation(tmp_path / "b", predictions, checkpoint_sha256="e" * 64)


@pytest.fixture
def config(
    tmp_path: Path, mlflow_uri: str, monkeypatch: pytest.MonkeyPatch
) -> Callable[..., DictConfig]:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", mlflow_uri)

    def config(*overrides: str, **runs: object) -> DictConfig:
        with initialize(version_base="1.3", config_path="../configs"):
            cfg = compose("compare.yaml", overrides=list(overrides))
        cfg.paths.output_dir = str(tmp_path / "run")
        for name, run in runs.items():
            cfg[name] = str(run)
        return cfg

    return config


Config = Callable[..., DictConfig]


def record(uri: str, *paths: Path) -> str:
    """A run at MLflow with files."""
    logger = MLFlowLogger("eval", uri)
    with RunRecorder([logger], {}, {}) as recorder:
        for path in paths:
            recorder.log_artifact(path)
    assert not recorder.failures
    assert logger.run_id is not None
    return logger.run_id


def test_the_result_is_returned_and_written(
    config: Config, baseline: Path, candidate: Path, tmp_path: Path
) -> None:
    metrics, objects = compare(config("logger=none", baseline=baseline, candidate=candidate))
    assert (metrics["compare/won"], metrics["compare/lost"]) == (3, 1)
    assert metrics["compare/difference"] == pytest.approx(2 / 12)
    assert metrics["compare/p_value"] == 10 / 16
    assert metrics["compare/difference_ci_low"] <= 0 < metrics["compare/difference_ci_high"]
    assert metrics["compare/map_difference"] == pytest.approx(np.mean(PRECISION**0.5 - PRECISION))
    assert metrics["compare/map_difference_ci_low"] > 0
    assert set(objects) >= {"cfg", "baseline", "candidate", "comparison", "logger", "recorder"}

    numbers = json.loads((tmp_path / "run" / "comparison.json").read_text())
    assert numbers["verdict"] == VERDICT
    assert numbers["accuracy"]["difference"] == metrics["compare/difference"]
    assert numbers["accuracy"]["interval"] == [
        metrics[f"compare/difference_ci_{end}"] for end in ("low", "high")
    ]
    assert numbers["mean_average_precision"]["queries"] == 12
    assert numbers["runs"]["candidate"]["tags"]["checkpoint_sha256"] == "e" * 64
    queries = pd.read_parquet(tmp_path / "run" / "comparison.parquet")
    assert list(queries["candidate_correct"]) == BETTER
    assert {"path", "identity", "baseline_nearest_path", "baseline_similarity"} <= set(queries)


def test_what_is_printed(
    config: Config, baseline: Path, candidate: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    compare(config("logger=none", baseline=baseline, candidate=candidate))
    shown = capsys.readouterr().out
    assert re.search(
        r"accuracy .* 0\.66667 .* 0\.83333 .* \+0\.16667 .* [+-]0\.\d+ to \+0\.\d+", shown
    )
    assert re.search(r"mAP .* 0\.50000 ", shown)
    assert "3 won, 1 lost, 8 alike, of 12 queries of 4 identities" in shown
    assert "All intervals rest on fewer than 10 identities" in shown
    assert "p = 0.625" in shown
    assert re.search(rf"Verdict +{VERDICT}\n", shown)
    assert "comparison.html" in shown


def test_the_page_needs_no_other_file_and_says_what_was_compared(
    config: Config, baseline: Path, candidate: Path, tmp_path: Path
) -> None:
    compare(config("logger=none", baseline=baseline, candidate=candidate))
    page = (tmp_path / "run" / "comparison.html").read_text()
    assert f"<h1>{SENTENCE}</h1>" in page
    assert "models/&lt;a&gt; &amp; b.ckpt" in page
    assert "e" * 64 in page
    assert "All intervals rest on fewer than 10 identities" in page
    assert "Queries won: 3<" in page
    assert "Queries lost: 1<" in page
    assert len(re.findall(r'src="data:image/png;base64,', page)) == 2
    assert all(link.startswith("data:") for link in re.findall(r'(?:src|href)="([^"]*)', page))


def test_at_most_twelve_strips(config: Config, tmp_path: Path) -> None:
    worse = write_evaluation(tmp_path / "a", make_predictions([False] * 29 + [True]))
    better = write_evaluation(tmp_path / "b", make_predictions([True] * 30))
    compare(config("logger=none", baseline=worse, candidate=better))
    page = (tmp_path / "run" / "comparison.html").read_text()
    assert "Queries won: 29. The 12 whose error was most similar; the table has 17 more" in page
    assert "Queries lost" not in page
    assert len(re.findall("<td[^>]*>query/", page)) == 29


def test_the_same_run_twice(
    config: Config, baseline: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    metrics, _ = compare(config("logger=none", baseline=baseline, candidate=baseline))
    assert "compare/difference_ci_low" not in metrics
    assert metrics["compare/p_value"] == 1
    assert re.search(r"accuracy .* \+0\.00000 .* not given", capsys.readouterr().out)
    page = (tmp_path / "run" / "comparison.html").read_text()
    assert "not given" in page
    assert "None: each query is right by both or wrong by both" in page
    assert not (tmp_path / "run" / "pictures").exists()


def test_images_are_drawn_where_they_are_found(config: Config, tmp_path: Path) -> None:
    data_dir = tmp_path / "data"
    runs = {"baseline": make_predictions(RIGHT), "candidate": make_predictions(BETTER)}
    folders = {
        name: write_evaluation(tmp_path / name, predictions, data_dir=str(data_dir))
        for name, predictions in runs.items()
    }
    picture = tmp_path / "run" / "pictures" / "won.png"
    compare(config("logger=none", **folders))
    without = picture.read_bytes()
    for path in runs["baseline"]["path"]:
        save_image(data_dir / path, path)
    compare(config("logger=none", **folders))
    assert picture.read_bytes() != without


class TestMlflow:
    def test_runs_are_named_by_their_ids_and_the_comparison_is_a_run(
        self, config: Config, baseline: Path, candidate: Path, mlflow_uri: str
    ) -> None:
        files = [
            [folder / RESULT_FILE, folder / PREDICTIONS_FILE] for folder in (baseline, candidate)
        ]
        ids = [record(mlflow_uri, *paths) for paths in files]
        metrics, objects = compare(config(baseline=ids[0], candidate=ids[1]))
        assert objects["recorder"].failures == []
        client = MlflowClient(mlflow_uri)
        experiment = client.get_experiment_by_name("compare")
        assert experiment is not None
        (run,) = client.search_runs([experiment.experiment_id])
        assert run.info.status == "FINISHED"
        assert run.data.metrics == pytest.approx(metrics)
        assert metrics["compare/won"] == 3
        assert run.data.params["baseline"] == ids[0]
        assert run.data.params["candidate"] == ids[1]
        assert run.data.tags["verdict"] == VERDICT
        assert run.data.tags["baseline"] == ids[0]
        (used,) = run.inputs.dataset_inputs
        assert used.dataset.digest == ("d" * 64)[:36]
        assert run.info.run_name == "epoch_120 against <a> & b on market"
        assert run.data.tags["mlflow.note.content"] == (
            "Candidate minus baseline: 1-NN accuracy +16.67 points, rank-1 +16.67 points, mAP "
            f"{100 * metrics['compare/map_difference']:+.2f} points. {SENTENCE}."
        )
        assert run.data.tags["candidate_checkpoint_sha256"] == "e" * 64
        artifacts = {artifact.path for artifact in client.list_artifacts(run.info.run_id)}
        assert artifacts == {
            "comparison.json",
            "comparison.parquet",
            "comparison.html",
            "pictures",
        }

    def test_a_folder_of_that_name_comes_first(
        self,
        config: Config,
        baseline: Path,
        candidate: Path,
        tmp_path: Path,
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:
        monkeypatch.chdir(tmp_path)
        candidate.rename(tmp_path / ("a" * 32))
        metrics, _ = compare(config("logger=none", baseline=baseline, candidate="a" * 32))
        assert metrics["compare/won"] == 3

    def test_an_unknown_run(self, config: Config, baseline: Path) -> None:
        with pytest.raises(
            FileNotFoundError, match=r"`candidate` should be the .* got a{32}: MLflow at .*not f"
        ):
            compare(config(baseline=baseline, candidate="a" * 32))

    def test_a_run_without_predictions(
        self, config: Config, baseline: Path, mlflow_uri: str
    ) -> None:
        run_id = record(mlflow_uri, baseline / RESULT_FILE)
        message = rf"`candidate` should be .*, got {run_id}: predictions.parquet is missing: .*unle"
        with pytest.raises(FileNotFoundError, match=message):
            compare(config(baseline=baseline, candidate=run_id))

    def test_a_run_without_mlflow(self, config: Config, baseline: Path) -> None:
        with pytest.raises(ValueError, match=r"`candidate` should be .* choose logger=mlflow"):
            compare(config("logger=none", baseline=baseline, candidate="a" * 32))

    def test_the_result_survives_an_unreachable_server(
        self,
        config: Config,
        baseline: Path,
        candidate: Path,
        tmp_path: Path,
        capsys: pytest.CaptureFixture[str],
    ) -> None:
        server = "logger.mlflow.tracking_uri=http://127.0.0.1:9"
        _, objects = compare(config(server, baseline=baseline, candidate=candidate))
        assert len(objects["recorder"].failures) == 1
        assert (tmp_path / "run" / "comparison.html").is_file()
        shown = capsys.readouterr().out
        assert shown.index("Verdict") < shown.index("NOT recorded: MLFlowLogger")


class TestCommand:
    """`python compare.py`, as a user runs it, from another folder."""

    @pytest.fixture
    def run(self, tmp_path: Path, process_environment: dict[str, str], mlflow_uri: str) -> Any:
        def run(*overrides: str) -> subprocess.CompletedProcess[str]:
            log_dir = f"paths.log_dir={tmp_path / 'logs'}"
            return subprocess.run(
                [sys.executable, str(ROOT / "compare.py"), log_dir, *overrides],
                capture_output=True,
                text=True,
                cwd=tmp_path,
                env=process_environment,
                timeout=120,
            )

        return run

    def test_compares(self, run: Any, baseline: Path, candidate: Path, tmp_path: Path) -> None:
        done = run("baseline=a", "candidate=b")
        assert done.returncode == 0, done.stderr
        assert done.stderr == ""
        assert "Verdict" in done.stdout
        assert "mlflow ui --backend-store-uri" in done.stdout
        names = {path.name for path in (tmp_path / "logs" / "compare").rglob("comparison.*")}
        assert names == {"comparison.json", "comparison.parquet", "comparison.html"}

    def test_help_explains_itself(self, run: Any) -> None:
        done = run("--help")
        assert done.returncode == 0
        assert "python compare.py baseline=<folder of a run>" in done.stdout
        assert "confidence: 0.95" in done.stdout
        assert "data_dir=<folder>" not in done.stdout
