"""What an evaluation tells of every query, against loops over the embeddings."""

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch

from src.eval import evaluate
from src.exact_retrieval import KReciprocal
from src.exact_retrieval.statistics.interval import identity_interval
from tests.conftest import ComposeConfig, make_prepared, save_image
from tests.exact_retrieval import oracle
from tests.exact_retrieval.retrieval.test_reranking import People, dense_measures
from tests.helpers import embed_again, only_run
from tests.test_eval import embedded


@pytest.fixture
def analysed(eval_config: ComposeConfig) -> Any:
    metrics, objects = evaluate(eval_config("callbacks=default"))
    return {name: value.item() for name, value in metrics.items()}, objects


@pytest.fixture
def run_folder(analysed: Any, tmp_path: Path) -> Path:
    return tmp_path / "run"


def paths_of(image_set: Any, root: Path) -> list[str]:
    return [image.path.relative_to(root).as_posix() for image in image_set.images]


def test_predictions(analysed: Any, run_folder: Path, prepared_data: Path) -> None:
    datamodule = analysed[1]["datamodule"]
    query, query_labels, _, reference, labels, _ = embedded(analysed[1])
    paths = paths_of(datamodule.reference_set, prepared_data)
    rankings = oracle.ranking(query, reference, "cosine")
    table = pd.read_parquet(run_folder / "predictions.parquet")
    assert table["path"].tolist() == paths_of(datamodule.query_set, prepared_data)
    for i, (row, order) in enumerate(zip(table.itertuples(), rankings, strict=True)):
        similarity = [oracle.cosine(query[i].tolist(), r) for r in reference.tolist()]
        own = [similarity[j] for j in order if labels[j] == query_labels[i]]
        others = [similarity[j] for j in order if labels[j] != query_labels[i]]
        assert row.nearest_path == paths[order[0]]
        assert row.nearest_identity == Path(row.nearest_path).parent.name
        assert f"_c{row.nearest_camera}s" in row.nearest_path
        assert row.identity == Path(row.path).parent.name
        assert row.similarity == pytest.approx(max(similarity))
        assert row.margin == pytest.approx(max(own) - max(others), abs=1e-9)
        assert row.correct == (row.margin > 0) == (row.identity == row.nearest_identity)
        assert row.first_match_rank == 1 + next(
            n for n, j in enumerate(order) if labels[j] == query_labels[i]
        )


def test_predictions_across_cameras(analysed: Any, run_folder: Path) -> None:
    sets = embedded(analysed[1])
    table = pd.read_parquet(run_folder / "predictions.parquet")
    for i, row in enumerate(table.itertuples()):
        one = [column[i : i + 1] for column in sets[:3]]
        alone = oracle.market(*one, *sets[3:], "cosine")
        if alone["cross_camera_queries"]:
            assert row.average_precision == pytest.approx(alone["mAP"])
            assert (row.cross_camera_rank == 1) == bool(alone["rank1"])
        else:
            assert math.isnan(row.average_precision)
            assert row.cross_camera_rank is pd.NA
    assert table["average_precision"].mean() == pytest.approx(analysed[0]["test/mAP"])


def test_intervals(analysed: Any, run_folder: Path) -> None:
    metrics, _ = analysed
    table = pd.read_parquet(run_folder / "predictions.parquet")
    identities = table["identity"].astype(int).to_numpy()
    for name, values in (
        ("test/acc", table["correct"].astype(float)),
        ("test/mAP", table["average_precision"]),
        ("test/rank1", (table["cross_camera_rank"] == 1).astype("Float64").astype(float)),
    ):
        low, high = identity_interval(values.to_numpy(), identities)
        found = metrics.get(f"{name}_ci_low", np.nan), metrics.get(f"{name}_ci_high", np.nan)
        assert found == pytest.approx((low, high), abs=1e-6, nan_ok=True)
    assert (
        0 <= metrics["test/acc_ci_low"] <= metrics["test/acc"] <= metrics["test/acc_ci_high"] <= 1
    )


def test_mlflow_holds_files_and_data_set(analysed: Any, mlflow_uri: str) -> None:
    from mlflow.tracking import MlflowClient

    run = only_run(mlflow_uri)
    client = MlflowClient(mlflow_uri)
    files = {file.path for file in client.list_artifacts(run.info.run_id)}
    report = {"result.json", "predictions.parquet", "report.html", "pictures"}
    assert files == {*report, "identities.json"}
    pictures = {Path(file.path).stem for file in client.list_artifacts(run.info.run_id, "pictures")}
    assert pictures >= {"cumulative_match", "similarities", "identity_accuracy", "camera_pairs"}
    (used,) = run.inputs.dataset_inputs
    digest = analysed[1]["datamodule"].inspection.digest
    assert digest.startswith(used.dataset.digest)
    (history,) = client.get_metric_history(run.info.run_id, "test/acc")
    assert history.step == 1  # the epoch of the checkpoint


def test_any_distance_and_confidence(eval_config: ComposeConfig, tmp_path: Path) -> None:
    options = ["model.distance=inner_product", "analysis.confidence=0.5"]
    metrics, _ = evaluate(eval_config("callbacks=default", "logger=none", *options))
    page = (tmp_path / "run" / "report.html").read_text()
    assert "queries right by inner product" in page
    assert "50 % interval" in page
    assert "95 %" not in page
    assert json.loads((tmp_path / "run" / "result.json").read_text())["confidence"] == 0.5
    wider, _ = evaluate(eval_config("callbacks=default", "logger=none", options[0]))
    assert wider["test/mAP_ci_low"] < metrics["test/mAP_ci_low"]


def test_reranking(eval_config: ComposeConfig, tmp_path: Path) -> None:
    plain, _ = evaluate(eval_config("logger=none"))
    options = ["reranking=k_reciprocal", "reranking.k1=4", "reranking.k2=2"]
    metrics, objects = evaluate(
        eval_config("callbacks=default", "analysis.pictures=false", "logger=none", *options)
    )
    assert metrics | plain == metrics
    expected = dense_measures(People(*embedded(objects)), KReciprocal(k1=4, k2=2))
    table = pd.read_parquet(tmp_path / "run" / "predictions.parquet")
    page = (tmp_path / "run" / "report.html").read_text()
    for name, value in expected.items():
        assert metrics[f"test/{name}"].item() == pytest.approx(value)
        assert table[name].mean() == pytest.approx(value)
        assert f"test/{name}_ci_low" in metrics
        assert f">test/{name}<" in page


def test_without_pictures(eval_config: ComposeConfig, tmp_path: Path) -> None:
    evaluate(eval_config("callbacks=default", "analysis.pictures=false", "logger=none"))
    files = {path.name for path in (tmp_path / "run").iterdir()}
    assert files == {"result.json", "predictions.parquet", "report.html", "embeddings"}


def test_no_callbacks_no_analysis(eval_config: ComposeConfig, tmp_path: Path) -> None:
    metrics, _ = evaluate(eval_config("logger=none"))
    assert [path.name for path in (tmp_path / "run").iterdir()] == ["result.json"]
    assert not any("_ci_" in name for name in metrics)


@pytest.mark.filterwarnings("ignore:1 of 3 queries have an identity that no reference has")
def test_strangers_and_unknown_cameras(eval_config: ComposeConfig, tmp_path: Path) -> None:
    data = make_prepared(
        tmp_path / "data", reference={"0002": [1], "0005": [2]}, query={"0002": [2]}
    )
    save_image(data / "query" / "0005" / "photo.jpg", 1)
    save_image(data / "query" / "0009" / "other.jpg", 2)
    metrics, _ = evaluate(
        eval_config(f"datamodule.data_dir={data}", "callbacks=default", "logger=none")
    )
    assert "test/mAP" not in metrics
    table = pd.read_parquet(tmp_path / "run" / "predictions.parquet").set_index("identity")
    assert table["camera"].isna().tolist() == [False, True, True]
    assert table["cross_camera_rank"].isna().all()
    assert table["average_precision"].isna().all()
    assert table.loc["0009", "first_match_rank"] is pd.NA
    assert math.isnan(table.loc["0009", "margin"])
    assert (tmp_path / "run" / "report.html").is_file()


def test_distractors_take_part_when_asked_for(
    eval_config: ComposeConfig, official_data: Path
) -> None:
    options = [f"datamodule.data_dir={official_data}", "logger=none"]
    _, without = evaluate(eval_config(*options))
    _, kept = evaluate(eval_config(*options, "datamodule.distractors=true"))
    added = len(kept["datamodule"].reference_set) - len(without["datamodule"].reference_set)
    assert added == 2
    embeddings = torch.cat(embed_again(kept).reference_embeddings)
    assert len(embeddings) == len(kept["datamodule"].reference_set)
