import hashlib
import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import mlflow
import mlflow.pytorch
import numpy as np
import pytest
import torch
from mlflow.tracking import MlflowClient
from PIL import Image
from torchvision.transforms.functional import to_tensor

from src.datamodules.components.batches import Batches
from src.datamodules.market_datamodule import MarketDataModule
from src.eval import evaluate
from src.exact_retrieval import EmbeddingRetrieval
from src.report.headlines import sum_up
from src.utils.checkpoint import load_model, read_checkpoint
from tests.conftest import QUERY, REFERENCE, ROOT, ComposeConfig, save_checkpoint
from tests.exact_retrieval import oracle
from tests.helpers import MODEL_CONFIG, embed_again, only_run


def embed(data_dir: Path, checkpoint: Path) -> list[torch.Tensor]:
    """Embeddings, labels and cameras of the query and of the reference, one image at a time."""
    model = load_model(MODEL_CONFIG, read_checkpoint(checkpoint)).eval()
    datamodule = MarketDataModule(data_dir)
    datamodule.setup("test")
    columns = []
    for image_set in (datamodule.query_set, datamodule.reference_set):
        samples = [image_set[i] for i in range(len(image_set))]
        images = [to_tensor(Image.open(image.path)).unsqueeze(0) for image in image_set.images]
        with torch.no_grad():
            columns.append(torch.cat(list(map(model, images))))
        columns.append(torch.tensor([s.label for s in samples]))
        columns.append(torch.tensor([s.camera for s in samples]))
    return columns


def embedded(objects: dict[str, Any]) -> list[torch.Tensor]:
    """The same as the evaluation had them: batches of other sizes are rounded otherwise."""
    metric = embed_again(objects)
    return [
        torch.cat(getattr(metric, f"{name}_{column}"))
        for name in ("query", "reference")
        for column in ("embeddings", "labels", "cameras")
    ]


def expected_metrics(samples: list[torch.Tensor]) -> dict[str, float]:
    """All that is logged, by the oracle."""
    query, query_labels, query_cameras, reference, labels, cameras = samples
    sets = query, query_labels, reference, labels
    retrieval = oracle.market(
        query, query_labels, query_cameras, reference, labels, cameras, "cosine"
    )
    over_all = oracle.over_all_references(*sets, "cosine")
    thresholds = oracle.above_thresholds(*sets, "cosine")
    return {
        "test/acc": oracle.accuracy(*sets, "cosine"),
        "test/acc_euclidean": oracle.accuracy(*sets, "euclidean"),
        "test/knn_acc": oracle.knn_accuracy(*sets, k=5, weighted=False),
        **{f"test/{name}": np.nanmean(values) for name, values in over_all.items()},
        "test/queries": len(query),
        "test/matched_queries": np.isfinite(over_all["map_all"]).sum(),
        **{f"test/{name}": value for name, value in (retrieval | thresholds).items()},
    }


@pytest.mark.parametrize("batch_size", [1, 4, 64])
def test_equals_the_oracle(
    eval_config: ComposeConfig, prepared_data: Path, checkpoint: Path, batch_size: int
) -> None:
    metrics, objects = evaluate(eval_config(f"datamodule.batch_size={batch_size}", "logger=none"))
    values = {name: value.item() for name, value in metrics.items()}
    assert not any(objects["model"].test_retrieval.metric_state.values())  # they fill no memory
    samples = embedded(objects)
    assert values == pytest.approx(expected_metrics(samples), abs=1e-6)
    for ours, theirs in zip(samples, embed(prepared_data, checkpoint), strict=True):
        assert torch.allclose(ours, theirs, atol=1e-6)
    assert values["test/queries"] == sum(map(len, QUERY.values()))
    assert 0 < values["test/acc"] < 1
    assert 0 < values["test/mAP"] < 1
    assert set(objects) >= {"cfg", "datamodule", "model", "callbacks", "logger", "trainer"}


def test_both_layouts_and_any_order_give_the_same(
    eval_config: ComposeConfig, official_data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    prepared, _ = evaluate(eval_config("logger=none"))
    official, _ = evaluate(eval_config("logger=none", f"datamodule.data_dir={official_data}"))
    assert official == prepared

    def shuffle(images: Any, positions: Any, *options: Any) -> Batches:
        return Batches(images, torch.randperm(len(positions)).tolist(), *options)

    monkeypatch.setattr("src.datamodules.image_datamodule.Batches", shuffle)
    monkeypatch.setattr(EmbeddingRetrieval, "block_bytes", 1)
    shuffled, _ = evaluate(eval_config("logger=none"))
    assert shuffled == prepared


def test_mlflow_holds_the_run(
    eval_config: ComposeConfig, mlflow_uri: str, checkpoint: Path, tmp_path: Path
) -> None:
    metrics, objects = evaluate(eval_config("tags=[small,test]"))
    run = only_run(mlflow_uri)
    assert run.info.status == "FINISHED"
    assert run.info.run_name == f"small on {objects['datamodule'].data_dir.name}"
    curve = run.data.metrics.pop("test/cmc")
    assert run.data.metrics == {name: value.item() for name, value in metrics.items()}
    assert run.data.tags["mlflow.note.content"] == sum_up(objects["evaluation"])
    assert run.data.params["network/backbone"] == "shufflenet_v2_x0_5"
    assert run.data.params["network/embedding_size"] == "16"
    client = MlflowClient(mlflow_uri)
    assert client.get_experiment(run.info.experiment_id).tags["mlflow.experimentKind"] == (
        "custom_model_development"
    )
    points = {p.step: p.value for p in client.get_metric_history(run.info.run_id, "test/cmc")}
    assert list(points) == list(range(1, 51))
    for k in (1, 5, 10):
        assert points[k] == pytest.approx(metrics[f"test/rank{k}"].item())
    assert curve == points[50] == 1
    (shown,) = json.loads(run.data.tags["mlflow.loggedArtifacts"])
    assert shown == {"path": "identities.json", "type": "table"}
    table = mlflow.artifacts.load_dict(f"{run.info.artifact_uri}/identities.json")
    rows = (dict(zip(table["columns"], row, strict=True)) for row in table["data"])
    assert {row["identity"]: row["queries"] for row in rows} == {
        identity: len(cameras) for identity, cameras in QUERY.items()
    }
    assert run.data.params["ckpt_path"] == str(checkpoint)
    assert run.data.params["datamodule/batch_size"] == "auto"
    assert run.data.tags["checkpoint_sha256"] == hashlib.sha256(checkpoint.read_bytes()).hexdigest()
    assert run.data.tags["dataset_digest"] == objects["datamodule"].inspection.digest
    assert run.data.tags["reference_identities"] == str(len(REFERENCE))
    assert run.data.tags["query_images"] == str(sum(map(len, QUERY.values())))
    assert run.data.tags["tags"] == "small,test"
    assert re.fullmatch(r"[0-9a-f]{40}(\+changes)?|unknown", run.data.tags["git_commit"])
    written = json.loads((tmp_path / "run" / "result.json").read_text())
    assert written["metrics"] == run.data.metrics
    assert written["tags"].items() <= run.data.tags.items()


def test_mlflow_holds_the_network(eval_config: ComposeConfig, mlflow_uri: str) -> None:
    """It embeds any number of images, and needs no code of this project."""
    _, objects = evaluate(eval_config("logger.mlflow.log_model=true", "model.flip=true"))
    assert objects["recorder"].failures == []
    run_id = only_run(mlflow_uri).info.run_id
    network = mlflow.pytorch.load_model(f"runs:/{run_id}/model")
    images = torch.rand(5, 3, 128, 64)
    with torch.no_grad():
        expected = objects["model"].embed(images)
        assert torch.allclose(network(images), expected, atol=1e-5)
        assert torch.allclose(network(images[:1]), expected[:1], atol=1e-5)
    signature = mlflow.models.get_model_info(f"runs:/{run_id}/model").signature
    assert signature.inputs.inputs[0].shape == (-1, 3, 128, 64)
    assert signature.outputs.inputs[0].shape == (-1, 16)


def test_a_broken_evaluation_is_a_failed_run(
    eval_config: ComposeConfig, tmp_path: Path, mlflow_uri: str
) -> None:
    state_dict = {"embedder.weight": torch.full((16, 1024), torch.nan)}
    whole = torch.load(save_checkpoint(tmp_path / "a.ckpt"), weights_only=True)["state_dict"]
    broken = save_checkpoint(tmp_path / "b.ckpt", state_dict={**whole, **state_dict})
    with pytest.raises(ValueError, match=r"`embeddings` should be finite, got NaN"):
        evaluate(eval_config(f"ckpt_path={broken}"))
    assert only_run(mlflow_uri).info.status == "FAILED"


def test_random_weights(eval_config: ComposeConfig) -> None:
    options = ["ckpt_path=null", "+model.backbone=shufflenet_v2_x0_5", "logger=none"]
    _, first = evaluate(eval_config(*options))
    _, second = evaluate(eval_config(*options))
    _, other = evaluate(eval_config(*options, "seed=1"))
    weights = [objects["model"].embedder.weight for objects in (first, second, other)]
    assert torch.equal(weights[0], weights[1])
    assert not torch.equal(weights[0], weights[2])


def test_the_configuration_can_be_printed(
    eval_config: ComposeConfig, capsys: pytest.CaptureFixture[str]
) -> None:
    evaluate(eval_config("extras.print_config=true", "logger=none"))
    assert "batch_size: auto" in capsys.readouterr().out


class TestCommand:
    """`python eval.py`, as a user runs it, from another folder."""

    @pytest.fixture
    def run(self, tmp_path: Path, process_environment: dict[str, str]) -> Any:
        def run(*overrides: str) -> subprocess.CompletedProcess[str]:
            log_dir = f"paths.log_dir={tmp_path / 'logs'}"
            return subprocess.run(
                [sys.executable, str(ROOT / "eval.py"), log_dir, *overrides],
                capture_output=True,
                text=True,
                cwd=tmp_path,
                env=process_environment,
                timeout=300,
            )

        return run

    def test_prints_and_records_the_accuracy(
        self, run: Any, tmp_path: Path, prepared_data: Path, checkpoint: Path
    ) -> None:
        done = run(f"datamodule.data_dir={prepared_data}", f"ckpt_path={checkpoint}")
        assert done.returncode == 0, done.stderr
        accuracy = only_run(f"sqlite:///{tmp_path}/mlflow.db").data.metrics["test/acc"]
        query, labels, _, reference, reference_labels, _ = embed(prepared_data, checkpoint)
        expected = oracle.accuracy(query, labels, reference, reference_labels, "cosine")
        assert accuracy == pytest.approx(expected, abs=1e-6)
        queries = sum(map(len, QUERY.values()))
        right = round(accuracy * queries)
        row = rf"test/acc .* {accuracy:.5f} .* {right} of {queries} by cosine"
        assert re.search(row, done.stdout)
        assert re.search(r"embedding query .* 5/5 ", done.stdout)
        assert "mlflow ui --backend-store-uri" in done.stdout
        assert done.stderr == ""
        (result,) = (tmp_path / "logs").rglob("result.json")
        assert str(result) in done.stdout

    def test_the_bundled_sample(self, run: Any, tmp_path: Path) -> None:
        done = run(
            "experiment=sample", "datamodule.identities=24", f"paths.data_dir={tmp_path / 'data'}"
        )
        assert done.returncode == 0, done.stderr
        assert "drawing the sample" in done.stdout
        assert "This is the bundled sample" in done.stdout
        assert (tmp_path / "data" / "sample_24_0" / "query").is_dir()
        accuracy = only_run(f"sqlite:///{tmp_path}/mlflow.db").data.metrics["test/acc"]
        assert 0.7 < accuracy <= 1  # chance is 1 in 7
