import hashlib
import json
import re
from importlib.metadata import version
from pathlib import Path
from urllib.error import URLError

import mlflow.pytorch
import pytest
import torch
from hydra import compose, initialize
from hydra.core.hydra_config import HydraConfig
from mlflow.tracking import MlflowClient
from omegaconf import open_dict
from torchvision.models import shufflenet_v2_x0_5
from torchvision.models._api import WeightsEnum

from src.compare import compare
from src.datamodules.components.image_listing import list_images
from src.datamodules.market_datamodule import MarketDataModule
from src.eval import evaluate
from src.preprocessing import Preprocessing
from src.train import evaluation_command, train
from src.utils.checkpoint import load_model, read_checkpoint
from tests.conftest import TRAIN, VAL, ComposeConfig, make_prepared
from tests.helpers import MODEL_CONFIG, only_run
from tests.tracking.server import dying_server

CHECKPOINTS = Path("run", "checkpoints")


def weights_of(path: Path) -> dict[str, torch.Tensor]:
    return read_checkpoint(path).content["state_dict"]


def assert_same_weights(first: Path, second: Path) -> None:
    first_weights, second_weights = weights_of(first), weights_of(second)
    assert first_weights.keys() == second_weights.keys()
    assert all(torch.equal(value, second_weights[name]) for name, value in first_weights.items())


def test_metrics_and_checkpoints(
    train_config: ComposeConfig, tmp_path: Path, mlflow_uri: str
) -> None:
    metrics, objects = train(train_config())
    expected = {f"{s}/{m}" for s in ("train", "val") for m in ("loss", "acc")}
    assert set(metrics) == expected | {"val/acc_best", "train/lr"}
    assert objects["model"].hparams["num_classes"] == len(TRAIN)
    assert objects["cfg"].monitor == "val/acc"

    run = only_run(mlflow_uri)
    assert run.info.status == "FINISHED"
    assert set(metrics) <= set(run.data.metrics)
    client = MlflowClient(mlflow_uri)
    assert len(client.get_metric_history(run.info.run_id, "val/acc")) == 2
    rates = client.get_metric_history(run.info.run_id, "train/lr")
    assert [rate.value for rate in rates] == pytest.approx([0.01 / 3, 0.02 / 3])  # they rise
    assert run.data.tags["train_identities"] == str(len(TRAIN))
    assert run.data.params["model/lr"] == "0.01"
    assert run.data.params["network/backbone"] == "shufflenet_v2_x0_5"
    assert run.data.params["network/num_classes"] == str(len(TRAIN))
    assert run.data.params["environment/torch"] == version("torch")

    (best,) = (tmp_path / CHECKPOINTS).glob("epoch_00?.ckpt")
    assert run.info.run_name == f"shufflenet_v2_x0_5 on {objects['datamodule'].data_dir.name}"
    assert run.data.tags["mlflow.note.content"] == (
        f"Trained for 2 epochs on 3 identities. The best checkpoint is {best.name}: val/acc "
        f"{metrics['val/acc_best']:.5f}."
    )
    (used,) = run.inputs.dataset_inputs
    assert used.dataset.digest == run.data.tags["training_digest"][:36]
    assert used.tags[0].value == "training"
    assert run.data.tags["checkpoint_sha256"] == hashlib.sha256(best.read_bytes()).hexdigest()
    (kept,) = client.list_artifacts(run.info.run_id, "checkpoints")
    assert kept.path == f"checkpoints/{best.name}"
    assert kept.file_size == best.stat().st_size
    assert (tmp_path / CHECKPOINTS / "last.ckpt").is_file()
    written = json.loads((tmp_path / "run" / "training.json").read_text())
    assert written["metrics"] == {name: value.item() for name, value in metrics.items()}
    assert written["checkpoint"] == str(best)


@pytest.mark.parametrize(("which", "expected"), [("all", ["epoch", "last"]), ("none", [])])
def test_which_checkpoints_are_recorded(
    train_config: ComposeConfig, mlflow_uri: str, which: str, expected: list[str]
) -> None:
    train(train_config(f"logger.mlflow.log_checkpoints={which}", "trainer.max_epochs=1"))
    run = only_run(mlflow_uri)
    kept = MlflowClient(mlflow_uri).list_artifacts(run.info.run_id, "checkpoints")
    assert [re.split(r"[_.]", Path(each.path).name)[0] for each in kept] == expected
    assert len(run.data.tags["checkpoint_sha256"]) == 64


def test_the_network_of_the_best_checkpoint_is_recorded(
    train_config: ComposeConfig, tmp_path: Path, mlflow_uri: str
) -> None:
    # The loss falls, so that the epoch of the greatest is not the last.
    best = [f"callbacks.best_checkpoint.{o}" for o in ("monitor=train/loss", "mode=max")]
    _, objects = train(train_config("logger.mlflow.log_model=true", "trainer.max_epochs=3", *best))
    assert objects["recorder"].failures == []
    network = mlflow.pytorch.load_model(f"runs:/{only_run(mlflow_uri).info.run_id}/model")
    (path,) = (tmp_path / CHECKPOINTS).glob("epoch_00?.ckpt")
    expected = load_model(MODEL_CONFIG, read_checkpoint(path)).eval()
    images = torch.rand(3, 3, 128, 64)
    with torch.no_grad():
        assert torch.allclose(network(images), expected(images), atol=1e-5)
        assert not torch.allclose(network(images), objects["model"].eval()(images), atol=1e-3)


def test_training_data_have_a_digest(tmp_path: Path) -> None:
    digests = []
    for change in ({}, {}, {"0009": [1]}):
        sets = {"train": {**TRAIN, **change}, "val": VAL, "reference": TRAIN}
        data_dir = make_prepared(tmp_path / f"data_{len(digests)}", **sets)
        datamodule = MarketDataModule(data_dir)
        datamodule.setup("fit")
        digests.append(datamodule.training_digest)
    assert digests[0] == digests[1] != digests[2]


def test_the_best_checkpoint_is_evaluated_as_by_eval(
    train_config: ComposeConfig, eval_config: ComposeConfig, tmp_path: Path, mlflow_uri: str
) -> None:
    metrics, objects = train(train_config("test=true"))
    trained = tmp_path / "trained"
    (tmp_path / "run").rename(trained)
    run = only_run(mlflow_uri)
    recorded = {name: run.data.metrics[name] for name in metrics}
    assert recorded == pytest.approx({name: value.item() for name, value in metrics.items()})
    files = {file.path for file in MlflowClient(mlflow_uri).list_artifacts(run.info.run_id)}
    report = {"result.json", "predictions.parquet", "report.html", "pictures"}
    of_mlflow = {"identities.json"}
    assert files == {"training.json", "checkpoints", *report, *of_mlflow}
    assert files - of_mlflow < {path.name for path in trained.iterdir()}
    assert "Trained for 2 epochs" in run.data.tags["mlflow.note.content"]
    assert f"1-NN accuracy {metrics['test/acc']:.5f}" in run.data.tags["mlflow.note.content"]
    written = json.loads((trained / "result.json").read_text())
    assert written["tags"].items() <= run.data.tags.items()
    assert len(run.inputs.dataset_inputs) == 2

    best = next((trained / "checkpoints").glob("epoch_00?.ckpt"))
    evaluated, _ = evaluate(eval_config(f"ckpt_path={best}", "logger=none", "callbacks=default"))
    assert evaluated.items() <= metrics.items()
    assert set(metrics) - set(evaluated) == {*objects["trainer"].callback_metrics}
    runs = [f"baseline={trained}", f"candidate={tmp_path / 'run'}"]
    with initialize(version_base="1.3", config_path="../configs"):
        cfg = compose("compare.yaml", overrides=["logger=none", *runs])
    cfg.paths.output_dir = str(tmp_path / "compared")
    compared, _ = compare(cfg)
    assert compared["compare/difference"] == 0


def test_the_command_that_evaluates_names_the_data_of_the_training() -> None:
    options = ["experiment=sample", "model.lr=0.1", "datamodule.identities=24"]
    with initialize(version_base="1.3", config_path="../configs"):
        HydraConfig.instance().set_config(
            compose("train.yaml", overrides=options, return_hydra_config=True)
        )
    try:
        assert evaluation_command("a b.ckpt") == (
            "python eval.py experiment=sample datamodule.identities=24 'ckpt_path=a b.ckpt'"
        )
    finally:
        HydraConfig.instance().cfg = None
    assert evaluation_command("a.ckpt") == "python eval.py ckpt_path=a.ckpt"


@pytest.mark.parametrize("is_deleted", [False, True])
def test_no_loggers_and_no_callbacks(
    train_config: ComposeConfig, tmp_path: Path, is_deleted: bool
) -> None:
    cfg = train_config("test=true", "analysis.report=false")
    with open_dict(cfg):
        for group in ("logger", "callbacks"):
            if is_deleted:
                del cfg[group]
            else:
                cfg[group] = None
    metrics, objects = train(cfg)
    assert "test/acc" in metrics
    assert objects["logger"] == []
    assert (tmp_path / "run" / "result.json").is_file()


def test_a_server_that_dies_does_not_end_the_training(
    train_config: ComposeConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    unbroken, _ = train(train_config("logger=none", "trainer.max_epochs=3"))
    (tmp_path / "run").rename(tmp_path / "unbroken")
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_TIMEOUT", "1")
    with dying_server(last_words=b'"val/acc"') as (address, received):
        cfg = train_config(f"logger.mlflow.tracking_uri={address}", "trainer.max_epochs=3")
        metrics, objects = train(cfg)
    assert metrics == unbroken
    assert len(objects["recorder"].failures) == 1
    assert sum(b"train_identities" in body for body in received) == 1
    assert sum(b'"val/acc"' in body for body in received) <= 2  # it is asked twice at most


def test_training_lowers_the_loss(train_config: ComposeConfig, mlflow_uri: str) -> None:
    train(train_config("trainer.max_epochs=10", "model.lr=0.03"))
    run_id = only_run(mlflow_uri).info.run_id
    history = MlflowClient(mlflow_uri).get_metric_history(run_id, "train/loss")
    losses = [metric.value for metric in history]
    assert len(losses) == 10
    assert losses[-1] < losses[0]


@pytest.mark.parametrize(
    ("backbone", "num_workers"),
    [("shufflenet_v2_x0_5", 0), ("shufflenet_v2_x0_5", 1), ("efficientnet_b0", 0)],  # has dropout
)
def test_resumed_equals_unbroken(
    train_config: ComposeConfig, tmp_path: Path, backbone: str, num_workers: int
) -> None:
    options = ["logger=none", f"model.backbone={backbone}", f"datamodule.num_workers={num_workers}"]
    unbroken, _ = train(train_config(*options, "trainer.max_epochs=4"))
    (tmp_path / "run").rename(tmp_path / "unbroken")
    train(train_config(*options, "trainer.max_epochs=2"))
    (tmp_path / "run").rename(tmp_path / "broken")
    last = tmp_path / "broken" / "checkpoints" / "last.ckpt"
    # Another state of the global generator must not matter.
    torch.rand(7)
    resume = ["trainer.max_epochs=4", f"ckpt_path={last}"]
    resumed, _ = train(train_config(*options, *resume))
    assert resumed == unbroken
    assert_same_weights(
        tmp_path / "unbroken" / "checkpoints" / "last.ckpt", tmp_path / CHECKPOINTS / "last.ckpt"
    )


def test_preprocessing_goes_with_the_checkpoint(
    train_config: ComposeConfig, eval_config: ComposeConfig, official_data: Path, tmp_path: Path
) -> None:
    pytest.importorskip("timm", reason="the extra timm is not installed")
    rows = [
        f"{image.path},{image.identity},{name},{image.camera}\n"
        for name in ("train", "val", "reference", "query")
        for image in list_images(official_data, name).images
    ]
    (tmp_path / "images.csv").write_text("".join(["path,identity,set,camera\n", *rows]))
    data = ["datamodule=listing", f"datamodule.file={tmp_path / 'images.csv'}", "logger=none"]
    imagenet = ["preprocessing=imagenet", "preprocessing.size=[64,32]"]
    train(train_config(*data, *imagenet, "model.backbone=mobilenetv3_small_050"))
    last = next((tmp_path / CHECKPOINTS).glob("epoch_00?.ckpt"))
    evaluation = [*data, f"ckpt_path={last}"]
    with pytest.warns(UserWarning, match=r"14 of 14 images are not 64 x 32"):
        kept, objects = evaluate(eval_config(*evaluation))
    assert objects["datamodule"].preprocessing == Preprocessing(
        (64, 32), (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
    )
    with pytest.warns(UserWarning, match=r"otherwise than .* size \[128, 64\] instead of \[64, 32"):
        other, objects = evaluate(eval_config(*evaluation, "preprocessing.size=[128,64]"))
    assert objects["datamodule"].preprocessing.size == (128, 64)
    assert kept != other
    resumed = train_config(*data, "model.backbone=mobilenetv3_small_050", f"ckpt_path={last}")
    with pytest.raises(ValueError, match=r"`preprocessing` should be that of .* to resume it, 64"):
        train(resumed)


def test_epochs_differ_in_order_and_augmentation(train_config: ComposeConfig) -> None:
    _, objects = train(train_config("logger=none"))
    loader = objects["datamodule"].train_dataloader()
    epochs = []
    for epoch in (0, 1, 0):
        loader.sampler.set_epoch(epoch)
        batches = list(loader)
        epochs.append((torch.cat([b.index for b in batches]), batches[0].image))
    n = len(objects["datamodule"].train_set)
    assert not torch.equal(epochs[0][0], epochs[1][0] % n)
    assert sorted((epochs[1][0] % n).tolist()) == list(range(n))
    first, second = objects["datamodule"].train_set[0], objects["datamodule"].train_set[n]
    assert first.label == second.label
    assert not torch.equal(first.image, second.image)
    assert all(torch.equal(a, b) for a, b in zip(epochs[0], epochs[2], strict=True))


def test_val_of_other_identities_is_judged_by_nearest_neighbours(
    train_config: ComposeConfig, tmp_path: Path
) -> None:
    others = {"0101": [1, 2, 3], "0102": [1, 2], "0103": [4, 5]}
    data_dir = make_prepared(tmp_path / "data", reference=TRAIN, train=TRAIN, val=others)
    metrics, objects = train(train_config("logger=none", f"datamodule.data_dir={data_dir}"))
    assert {"val/nn_acc", "train/loss", "train/acc", "train/lr"} == set(metrics)
    assert objects["cfg"].monitor == "val/nn_acc"

    (tmp_path / "run").rename(tmp_path / "first")
    both = make_prepared(tmp_path / "both", reference=TRAIN, train=TRAIN, val={**others, **VAL})
    metrics, _ = train(train_config("logger=none", f"datamodule.data_dir={both}"))
    assert {"val/nn_acc", "val/acc", "val/loss", "val/acc_best"} < set(metrics)


def test_imagenet_weights_from_disk(
    train_config: ComposeConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    torch.manual_seed(1)
    state_dict = shufflenet_v2_x0_5(weights=None).state_dict()
    monkeypatch.setattr(WeightsEnum, "get_state_dict", lambda *args, **kwargs: state_dict)
    cfg = train_config("initial_weights=imagenet", "model.lr=0", "logger=none")
    _, objects = train(cfg)
    trained = objects["model"].backbone.conv1[0].weight
    assert torch.equal(trained, state_dict["conv1.0.weight"])


def test_imagenet_weights_out_of_reach(
    train_config: ComposeConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*args: object, **kwargs: object) -> None:
        raise URLError("no network")

    monkeypatch.setattr(WeightsEnum, "get_state_dict", fail)
    with pytest.raises(ValueError, match=r"not at .*shufflenet.* no network.*weights=random"):
        train(train_config("initial_weights=imagenet"))
