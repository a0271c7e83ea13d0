"""Embeddings that an evaluation keeps, resumes from or takes from anybody."""

import json
import os
import random
import shutil
import socket
import time
from collections.abc import Callable
from multiprocessing.context import ForkProcess
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest
import torch
from omegaconf import DictConfig
from PIL import Image
from pytorch_lightning.utilities import rank_zero_only

from src.embeddings.manifest import Manifest
from src.eval import evaluate
from src.models.metric_learning_module import MetricLearningModule
from src.report.comparison import compare_runs
from src.report.evaluated_run import read_run
from tests.conftest import ComposeConfig, make_prepared, save_checkpoint
from tests.exact_retrieval import oracle
from tests.helpers import embed_again

Config = Callable[..., DictConfig]
NO_PICTURES = ["analysis.report=true", "analysis.pictures=false"]


@pytest.fixture
def keep_config(eval_config: ComposeConfig, tmp_path: Path) -> Config:
    """Compose an evaluation that keeps its embeddings, two images in a shard, in a named folder."""

    def keep_config(run: str, *overrides: str) -> DictConfig:
        keep = ["embeddings.keep=true", "embeddings.shard_images=2", "datamodule.batch_size=1"]
        cfg = eval_config(*keep, "logger=none", *overrides)
        cfg.paths.output_dir = str(tmp_path / run)
        return cfg

    return keep_config


@pytest.fixture
def embedded_config(compose_config: ComposeConfig, tmp_path: Path) -> Config:
    """Compose an evaluation of a folder of embeddings."""

    def embedded_config(folder: Path, *overrides: str) -> DictConfig:
        given = ["datamodule=embeddings", f"datamodule.data_dir={folder}", "logger=none"]
        cfg = compose_config("eval.yaml", *given, "callbacks=none", *overrides)
        cfg.paths.output_dir = str(tmp_path / "again")
        return cfg

    return embedded_config


def test_kept_embeddings_give_the_same_again(
    keep_config: Config, embedded_config: Config, tmp_path: Path
) -> None:
    first, objects = evaluate(keep_config("run", *NO_PICTURES))
    kept = tmp_path / "run" / "embeddings"
    counts = {"reference": 9, "query": 5}
    for name, count in counts.items():
        assert len(list(kept.glob(f"{name}-*.parquet"))) == (count + 1) // 2
    again, objects_again = evaluate(embedded_config(kept, *NO_PICTURES))
    assert again == first
    predictions = [tmp_path / run / "predictions.parquet" for run in ("run", "again")]
    assert predictions[0].read_bytes() == predictions[1].read_bytes()
    provenance, same = (each["evaluation"].provenance for each in (objects, objects_again))
    assert same.checkpoint_sha256 == provenance.checkpoint_sha256
    assert same.dataset_digest == provenance.dataset_digest
    assert same.data_dir == provenance.data_dir
    assert provenance.embeddings is None
    assert same.embeddings == str(kept)
    assert not (tmp_path / "again" / "embeddings").exists()


def test_other_distance_pictures_and_comparison_of_kept_embeddings(
    keep_config: Config, embedded_config: Config, tmp_path: Path
) -> None:
    expected, _ = evaluate(keep_config("run", "model.distance=euclidean", *NO_PICTURES))
    options = ["model.distance=euclidean", "analysis.report=true"]
    measures, _ = evaluate(embedded_config(tmp_path / "run" / "embeddings", *options))
    assert measures == expected
    assert (tmp_path / "again" / "pictures" / "mistakes.png").is_file()
    runs = [read_run(run, str(tmp_path / run), None) for run in ("run", "again")]
    compared = compare_runs(*runs).metrics()
    assert compared["compare/queries"] == 5
    assert compared["compare/difference"] == 0


def test_the_embeddings_of_a_training_are_kept_only_if_wanted(
    keep_config: Config, tmp_path: Path
) -> None:
    evaluate(keep_config("run", "embeddings.keep=false"))
    assert not (tmp_path / "run" / "embeddings").exists()


@pytest.mark.filterwarnings("ignore:Every query is exactly as similar")  # so few digits are they
def test_bfloat16_is_kept_as_it_is(
    keep_config: Config, embedded_config: Config, tmp_path: Path
) -> None:
    first, _ = evaluate(keep_config("run", "trainer.precision=bf16-true"))
    kept = tmp_path / "run" / "embeddings"
    assert Manifest.read(kept).content.dtype == "bfloat16"
    again, objects_again = evaluate(embedded_config(kept))
    assert again == first
    embeddings = embed_again(objects_again).query_embeddings
    assert {each.dtype for each in embeddings} == {torch.bfloat16}
    resumed, _ = evaluate(
        keep_config("resumed", "trainer.precision=bf16-true", f"resume={tmp_path / 'run'}")
    )
    assert resumed == first


def clustered(rows: int, seed: int) -> tuple[np.ndarray, list[str]]:
    """Draw embeddings around one of ten centres each, and name the centres."""
    generator = np.random.default_rng(seed)
    people = np.arange(rows) % 10
    centres = np.random.default_rng(0).standard_normal((10, 8))
    embeddings = centres[people] + 0.7 * generator.standard_normal((rows, 8))
    return embeddings.astype(np.float32), [f"0{person}" for person in people]


def expected_accuracies() -> dict[str, float]:
    (query, people), (reference, others) = clustered(40, 1), clustered(90, 2)
    columns = [torch.tensor(each) for each in (query, list(map(int, people)))]
    columns += [torch.tensor(each) for each in (reference, list(map(int, others)))]
    return {
        "test/acc": oracle.accuracy(*columns, "cosine"),
        "test/knn_acc": oracle.knn_accuracy(*columns, k=3, weighted=False),
    }


def test_a_folder_that_pandas_wrote(embedded_config: Config, tmp_path: Path) -> None:
    for name, rows, seed in (("query", 40, 1), ("reference", 90, 2)):
        embeddings, people = clustered(rows, seed)
        table = pd.DataFrame({"identity": people, "embedding": list(embeddings)})
        table.to_parquet(tmp_path / f"{name}.parquet")
    options = ["model.k=3", "analysis.report=true"]
    measures, objects = evaluate(embedded_config(tmp_path, *options))
    values = {name: value.item() for name, value in measures.items()}
    for name, expected in expected_accuracies().items():
        assert values[name] == pytest.approx(expected)
    assert 0.5 < values["test/acc"] < 1
    assert "test/rank1" not in values
    assert objects["evaluation"].predictions["path"].tolist()[:2] == ["query/0", "query/1"]
    tags = objects["evaluation"].provenance.run_tags()
    assert tags["checkpoint_sha256"] == "unknown: embeddings alone"
    assert len(tags["embeddings_sha256"]) == 64
    pictures = {path.stem for path in (tmp_path / "again" / "pictures").iterdir()}
    assert "similarities" in pictures
    assert "mistakes" not in pictures  # there are no images


def test_numpy_arrays_and_csv_files_with_cameras_of_any_name(
    embedded_config: Config, tmp_path: Path
) -> None:
    for name, rows, seed in (("query", 40, 1), ("reference", 90, 2)):
        embeddings, people = clustered(rows, seed)
        np.save(tmp_path / f"{name}.npy", embeddings)
        cameras = [("north", "05")[place // 20 % 2] for place in range(rows)]
        lines = [",".join(line) for line in zip(people, cameras, strict=True)]
        (tmp_path / f"{name}.csv").write_text("\n".join(["identity,camera", *lines]))
    options = ["model.k=3", "analysis.report=true"]
    measures, objects = evaluate(embedded_config(tmp_path, *options))
    values = {name: value.item() for name, value in measures.items()}
    for name, expected in expected_accuracies().items():
        assert values[name] == pytest.approx(expected)
    assert 0 < values["test/rank1"] <= 1
    predictions = objects["evaluation"].predictions
    assert set(predictions["camera"]) == {"north", "05"}
    assert (tmp_path / "again" / "pictures" / "camera_pairs.png").is_file()


def test_leave_one_out(embedded_config: Config, tmp_path: Path) -> None:
    embeddings, people = clustered(60, 1)
    pd.DataFrame({"identity": people, "embedding": list(embeddings)}).to_parquet(
        tmp_path / "query.parquet"
    )
    options = ["analysis.report=true", "analysis.pictures=false"]
    alone, objects = evaluate(embedded_config(tmp_path, *options))
    directions = (
        embeddings.astype(float) / np.linalg.norm(embeddings.astype(float), axis=1)[:, None]
    )
    similarity = directions @ directions.T
    np.fill_diagonal(similarity, -np.inf)
    right = np.array(people)[similarity.argmax(axis=1)] == people
    assert alone["test/acc"].item() == pytest.approx(right.mean())
    predictions = objects["evaluation"].predictions
    assert (predictions["path"] != predictions["nearest_path"]).all()
    assert predictions["nearest_path"].tolist() == [f"query/{i}" for i in similarity.argmax(axis=1)]
    shutil.copy(tmp_path / "query.parquet", tmp_path / "reference.parquet")
    asked, _ = evaluate(embedded_config(tmp_path, "datamodule.leave_one_out=true", *options))
    assert asked == alone
    with pytest.raises(ValueError, match=r"`reranking` should be none where each image is comp"):
        evaluate(
            embedded_config(tmp_path, "datamodule.leave_one_out=true", "reranking=k_reciprocal")
        )


def test_a_kept_file_that_was_changed(
    keep_config: Config, embedded_config: Config, tmp_path: Path
) -> None:
    evaluate(keep_config("run"))
    kept = tmp_path / "run" / "embeddings"
    flip_a_bit(kept / "query-00001.parquet")
    with pytest.raises(ValueError, match=r"query-00001.parquet should have the SHA-256"):
        evaluate(embedded_config(kept))
    (kept / "query-00001.parquet").unlink()
    with pytest.raises(ValueError, match=r"should hold all files of its manifest.json, lacks"):
        evaluate(embedded_config(kept))


def flip_a_bit(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.unlink()  # another run may have the same file
    path.write_bytes(content)


def test_resume_embeds_only_what_is_missing(
    keep_config: Config, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    expected, _ = evaluate(keep_config("run"))
    kept = tmp_path / "run" / "embeddings"
    content = Manifest.read(kept).content
    flip_a_bit(kept / "reference-00001.parquet")
    (kept / "query-00002.parquet").unlink()
    embedded = []
    embed = MetricLearningModule.embed
    monkeypatch.setattr(
        MetricLearningModule, "embed", lambda s, x: embedded.append(len(x)) or embed(s, x)
    )
    resumed, _ = evaluate(keep_config("resumed", f"resume={tmp_path / 'run'}"))
    assert resumed == expected
    alone = [count for count in embedded if count == 1]  # a trial of the network takes all images
    assert len(alone) == 3  # two images of a full shard, one of the last
    assert Manifest.read(tmp_path / "resumed" / "embeddings").content == content
    in_place, _ = evaluate(keep_config("run", f"resume={tmp_path / 'run'}"))
    assert in_place == expected
    assert Manifest.read(kept).content == content


def test_resume_refuses_what_was_made_of_something_else(
    keep_config: Config,
    prepared_data: Path,
    tmp_path: Path,
) -> None:
    evaluate(keep_config("run"))
    resume = f"resume={tmp_path / 'run'}"

    def refusal(*overrides: str) -> str:
        with pytest.raises(ValueError, match=r"`resume` should name an evaluation") as refused:
            evaluate(keep_config("resumed", resume, *overrides))
        assert not (tmp_path / "resumed").exists()
        return str(refused.value)

    other = save_checkpoint(tmp_path / "other.ckpt", epoch=2)
    assert "checkpoint_sha256" in refusal(f"ckpt_path={other}")
    data_dir = shutil.copytree(prepared_data, tmp_path / "data")
    image = next((data_dir / "query").rglob("*.jpg"))
    Image.open(image).rotate(180).save(image)
    message = refusal(f"datamodule.data_dir={data_dir}")
    assert "dataset_digest" in message
    assert "checkpoint_sha256" not in message
    assert "batch_size: 1 there, 4 here" in refusal("datamodule.batch_size=4")
    with pytest.warns(UserWarning, match=r"interpolation bicubic instead of bilinear"):
        assert "preprocessing_sha256" in refusal("preprocessing.interpolation=bicubic")
    assert "flip: False there, True here" in refusal("model.flip=true")
    with pytest.raises(FileNotFoundError, match=r"No manifest.json in .*nothing/embeddings"):
        evaluate(keep_config("resumed", f"resume={tmp_path / 'nothing'}"))
    random_weights = ["ckpt_path=null", "+model.backbone=shufflenet_v2_x0_5"]
    with pytest.raises(ValueError, match=r"`resume` should go with a checkpoint, got random"):
        evaluate(keep_config("resumed", resume, *random_weights))
    with pytest.raises(
        ValueError, match=r"`resume` should go with images and embeddings.keep=true"
    ):
        evaluate(keep_config("resumed", resume, "embeddings.keep=false"))


def test_embeddings_of_an_evaluation_that_was_ended_early(
    keep_config: Config, embedded_config: Config, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: Any) -> None:
        raise ValueError("out of luck")

    with monkeypatch.context() as patch:
        patch.setattr("src.callbacks.keep_embeddings.KeepEmbeddings.on_test_epoch_end", fail)
        with pytest.raises(ValueError, match="out of luck"):
            evaluate(keep_config("run"))
    with pytest.raises(ValueError, match=r"ended early: python eval.py resume=.*/run goes on"):
        evaluate(embedded_config(tmp_path / "run" / "embeddings"))


@pytest.fixture(scope="module")
def many_images(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Data whose embedding takes long enough to be killed five times."""
    people = [f"{person:04}" for person in range(1, 7)]
    sets = {
        "reference": {person: [1, 2, 3, 4, 5] for person in people},
        "query": {person: [2, 3] for person in people},
    }
    return make_prepared(tmp_path_factory.mktemp("many"), **sets)


TRAINERS = {1: ["trainer=cpu"], 2: ["trainer=ddp_sim"]}
SLOW = "+callbacks.slow={_target_: tests.helpers.SlowEmbedding, seconds: 0.1}"


@pytest.mark.parametrize("processes", [1, 2])
def test_killed_five_times_and_resumed(
    processes: int, many_images: Path, keep_config: Config, tmp_path: Path
) -> None:
    data = f"datamodule.data_dir={many_images}"
    options = [data, "embeddings.shard_images=1", *TRAINERS[processes]]
    moments, resume, done = random.Random(0), [], 0
    for run in (f"killed_{time_}" for time_ in range(5)):
        job = fork(keep_config(run, SLOW, *options, *resume), processes)
        kept = tmp_path / run / "embeddings"
        while len(list(kept.glob("*.parquet"))) <= done:
            assert all(process.is_alive() for process in job)
            time.sleep(0.01)
        time.sleep(moments.uniform(0, 0.3))
        for process in job:
            process.kill()
            process.join()
        done, resume = len(list(kept.glob("*.parquet"))), [f"resume={tmp_path / run}"]
        assert not (tmp_path / run / "result.json").exists()
    job = fork(keep_config("resumed", *options, *resume), processes)
    assert [process.join() or process.exitcode for process in job] == [0] * processes
    measures, _ = evaluate(keep_config("whole", data))
    result = json.loads((tmp_path / "resumed" / "result.json").read_text())
    assert result["metrics"] == {name: value.item() for name, value in measures.items()}
    for name in ("reference", "query"):
        resumed, whole = (
            pq.ParquetDataset(sorted((tmp_path / run / "embeddings").glob(f"{name}-*")))
            .read()
            .sort_by("index")
            for run in ("resumed", "whole")
        )
        assert resumed.equals(whole)
    first = "embeddings/reference-00000.parquet"  # neither embedded nor written again
    assert (tmp_path / "killed_0" / first).samefile(tmp_path / "resumed" / first)


def test_two_processes_evaluate_what_one_kept(
    keep_config: Config, embedded_config: Config, tmp_path: Path
) -> None:
    evaluate(keep_config("run", *NO_PICTURES))
    kept = tmp_path / "run" / "embeddings"
    job = fork(embedded_config(kept, *NO_PICTURES, *TRAINERS[2]), 2)
    assert [process.join() or process.exitcode for process in job] == [0, 0]
    predictions = [tmp_path / run / "predictions.parquet" for run in ("run", "again")]
    assert predictions[0].read_bytes() == predictions[1].read_bytes()


def fork(cfg: DictConfig, processes: int) -> list[ForkProcess]:
    """Start an evaluation in copies of this process, which have imported all modules."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]

    def run(rank: int) -> None:
        if processes > 1:  # as if Lightning had started the process
            address = {
                "LOCAL_RANK": str(rank),
                "MASTER_ADDR": "127.0.0.1",
                "MASTER_PORT": str(port),
            }
            os.environ |= address
            rank_zero_only.rank = rank
        evaluate(cfg)

    job = [ForkProcess(target=run, args=(rank,), daemon=True) for rank in range(processes)]
    for process in job:
        process.start()
    return job
