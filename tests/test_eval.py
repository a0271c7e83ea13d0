import hashlib
import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torchvision.transforms.functional import to_tensor

from src.datamodules.components.batches import Batches
from src.datamodules.market_datamodule import MarketDataModule
from src.eval import evaluate
from src.exact_retrieval import EmbeddingRetrieval
from src.utils.checkpoint import load_model, read_checkpoint
from tests.conftest import QUERY, REFERENCE, ROOT, ComposeConfig, make_prepared, save_checkpoint
from tests.exact_retrieval import oracle
from tests.helpers import MODEL_CONFIG, only_run


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
    metric = objects["model"].test_retrieval
    return [
        torch.cat(getattr(metric, f"{name}_{column}"))
        for name in ("query", "reference")
        for column in ("embeddings", "labels", "cameras")
    ]


def expected_metrics(objects: dict[str, Any]) -> dict[str, float]:
    """All that is logged, by the oracle."""
    query, query_labels, query_cameras, reference, labels, cameras = embedded(objects)
    sets = query, query_labels, reference, labels
    retrieval = oracle.market(
        query, query_labels, query_cameras, reference, labels, cameras, "cosine"
    )
    over_all = oracle.over_all_references(*sets, "cosine")
    return {
        "test/acc": oracle.accuracy(*sets, "cosine"),
        "test/acc_euclidean": oracle.accuracy(*sets, "euclidean"),
        "test/knn_acc": oracle.knn_accuracy(*sets, k=5, weighted=False),
        **{f"test/{name}": np.nanmean(values) for name, values in over_all.items()},
        "test/queries": len(query),
        "test/matched_queries": np.isfinite(over_all["map_all"]).sum(),
        **{f"test/{name}": value for name, value in retrieval.items()},
    }


@pytest.mark.parametrize("batch_size", [1, 4, 64])
def test_equals_the_oracle(
    eval_config: ComposeConfig, prepared_data: Path, checkpoint: Path, batch_size: int
) -> None:
    metrics, objects = evaluate(eval_config(f"datamodule.batch_size={batch_size}", "logger=none"))
    values = {name: value.item() for name, value in metrics.items()}
    assert values == pytest.approx(expected_metrics(objects), abs=1e-6)
    for ours, theirs in zip(embedded(objects), embed(prepared_data, checkpoint), strict=True):
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
    assert run.data.metrics == {name: value.item() for name, value in metrics.items()}
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


def test_the_result_survives_an_unreachable_server(
    eval_config: ComposeConfig, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    metrics, objects = evaluate(eval_config("logger.mlflow.tracking_uri=http://127.0.0.1:9"))
    written = json.loads((tmp_path / "run" / "result.json").read_text())
    assert written["metrics"]["test/acc"] == metrics["test/acc"].item()
    assert len(objects["recorder"].failures) == 1
    assert "NOT recorded: MLFlowLogger" in capsys.readouterr().out


def test_a_broken_evaluation_is_a_failed_run(
    eval_config: ComposeConfig, tmp_path: Path, mlflow_uri: str
) -> None:
    state_dict = {"embedder.weight": torch.full((16, 1024), torch.nan)}
    whole = torch.load(save_checkpoint(tmp_path / "a.ckpt"), weights_only=True)["state_dict"]
    broken = save_checkpoint(tmp_path / "b.ckpt", state_dict={**whole, **state_dict})
    with pytest.raises(ValueError, match=r"`embeddings` should be finite, got NaN"):
        evaluate(eval_config(f"ckpt_path={broken}"))
    assert only_run(mlflow_uri).info.status == "FAILED"


@pytest.mark.parametrize("limit", ["1", "0.5", "0"])
def test_every_sample_has_to_take_part(eval_config: ComposeConfig, limit: str) -> None:
    with pytest.raises(ValueError, match=r"`trainer` should let all samples take part, got limit"):
        evaluate(eval_config(f"+trainer.limit_test_batches={limit}", "logger=none"))


def test_random_weights(eval_config: ComposeConfig) -> None:
    options = ["ckpt_path=null", "+model.backbone=shufflenet_v2_x0_5", "logger=none"]
    _, first = evaluate(eval_config(*options))
    _, second = evaluate(eval_config(*options))
    _, other = evaluate(eval_config(*options, "seed=1"))
    weights = [objects["model"].embedder.weight for objects in (first, second, other)]
    assert torch.equal(weights[0], weights[1])
    assert not torch.equal(weights[0], weights[2])


def test_enforced_tags(eval_config: ComposeConfig) -> None:
    with pytest.raises(ValueError, match=r"`tags` should name the run"):
        evaluate(eval_config("extras.enforce_tags=true"))


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

    def test_without_data(self, run: Any, tmp_path: Path) -> None:
        done = run(f"paths.data_dir={tmp_path / 'none'}", f"ckpt_path={tmp_path / 'no.ckpt'}")
        assert done.returncode == 1
        assert f"No data in {tmp_path / 'none'}" in done.stderr
        assert f"No checkpoint at {tmp_path / 'no.ckpt'}" in done.stderr
        assert "unpack Market-1501 into" in done.stderr
        assert "python eval.py experiment=sample" in done.stderr
        assert "Traceback" not in done.stdout + done.stderr

    def test_a_broken_image_read_by_a_worker(
        self, run: Any, tmp_path: Path, checkpoint: Path
    ) -> None:
        data_dir = make_prepared(tmp_path / "data", reference=REFERENCE, query=QUERY)
        image = next((data_dir / "query" / "0007").iterdir())
        image.write_bytes(image.read_bytes()[:-300])
        done = run(
            f"datamodule.data_dir={data_dir}", f"ckpt_path={checkpoint}", "datamodule.num_workers=1"
        )
        assert done.returncode == 1
        assert f"Error: Cannot read the image {image}" in done.stderr
        assert "Traceback" not in done.stdout + done.stderr

    def test_an_unreachable_server(
        self, run: Any, prepared_data: Path, checkpoint: Path, tmp_path: Path
    ) -> None:
        done = run(
            f"datamodule.data_dir={prepared_data}",
            f"ckpt_path={checkpoint}",
            "logger.mlflow.tracking_uri=http://127.0.0.1:9",
        )
        assert done.returncode == 1
        assert "test/acc" in done.stdout
        assert "NOT recorded: MLFlowLogger" in done.stdout
        assert "Traceback" not in done.stdout + done.stderr
