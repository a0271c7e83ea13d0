import json
from pathlib import Path
from urllib.error import URLError

import pytest
import torch
from mlflow.tracking import MlflowClient
from torchvision.models import shufflenet_v2_x0_5
from torchvision.models._api import WeightsEnum

from src.eval import evaluate
from src.train import train
from src.utils.checkpoint import read_checkpoint
from tests.conftest import TRAIN, VAL, ComposeConfig, make_prepared

CHECKPOINTS = Path("run", "checkpoints")


def weights_of(path: Path) -> dict[str, torch.Tensor]:
    return read_checkpoint(path)["state_dict"]


def assert_same_weights(first: Path, second: Path) -> None:
    first_weights, second_weights = weights_of(first), weights_of(second)
    assert first_weights.keys() == second_weights.keys()
    assert all(torch.equal(value, second_weights[name]) for name, value in first_weights.items())


def test_metrics_and_checkpoints(
    train_config: ComposeConfig, eval_config: ComposeConfig, tmp_path: Path, mlflow_uri: str
) -> None:
    metrics, objects = train(train_config("test=true"))
    expected = {f"{s}/{m}" for s in ("train", "val") for m in ("loss", "acc")}
    expected |= {"val/acc_best", "test/acc", "test/acc_euclidean", "test/mAP", "test/queries"}
    assert expected <= set(metrics)
    assert objects["model"].hparams["num_classes"] == len(TRAIN)
    assert objects["cfg"].monitor == "val/acc"

    client = MlflowClient(mlflow_uri)
    (run,) = client.search_runs([e.experiment_id for e in client.search_experiments()])
    assert run.info.status == "FINISHED"
    assert expected <= set(run.data.metrics)
    assert len(client.get_metric_history(run.info.run_id, "val/acc")) == 2
    assert run.data.tags["train_identities"] == str(len(TRAIN))
    assert run.data.params["model/lr"] == "0.01"
    written = json.loads((tmp_path / "run" / "result.json").read_text())
    assert set(written["metrics"]) == set(metrics)

    (best,) = (tmp_path / CHECKPOINTS).glob("epoch_00?.ckpt")
    assert (tmp_path / CHECKPOINTS / "last.ckpt").is_file()
    evaluated, _ = evaluate(eval_config(f"ckpt_path={best}", "logger=none"))
    assert evaluated["test/acc"] == metrics["test/acc"]


def test_training_lowers_the_loss(train_config: ComposeConfig, mlflow_uri: str) -> None:
    train(train_config("trainer.max_epochs=6", "model.scale=16", "model.margin=6"))
    client = MlflowClient(mlflow_uri)
    (run,) = client.search_runs([e.experiment_id for e in client.search_experiments()])
    losses = [m.value for m in client.get_metric_history(run.info.run_id, "train/loss")]
    assert len(losses) == 6
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
    assert {"val/nn_acc", "train/loss", "train/acc"} == set(metrics)
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


def test_other_initial_weights(train_config: ComposeConfig) -> None:
    with pytest.raises(ValueError, match=r"`initial_weights` should be one of .* got 'zero'"):
        train(train_config("initial_weights=zero"))


def test_a_checkpoint_of_weights_alone_cannot_be_resumed(
    train_config: ComposeConfig, checkpoint: Path
) -> None:
    with pytest.raises(ValueError, match=r"cannot be resumed: it lacks \['optimizer_states'"):
        train(train_config(f"ckpt_path={checkpoint}"))


def test_a_checkpoint_of_other_classes_cannot_be_resumed(
    train_config: ComposeConfig, tmp_path: Path
) -> None:
    train(train_config("logger=none", "trainer.max_epochs=1"))
    (tmp_path / "run").rename(tmp_path / "first")
    last = tmp_path / "first" / "checkpoints" / "last.ckpt"
    data_dir = make_prepared(
        tmp_path / "data", reference=TRAIN, train={**TRAIN, "0099": [1]}, val=VAL
    )
    with pytest.raises(ValueError, match=r"last.ckpt does not fit (.|\n)*arcface.W"):
        train(train_config(f"ckpt_path={last}", f"datamodule.data_dir={data_dir}"))
