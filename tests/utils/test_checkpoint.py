import hashlib
import os
from pathlib import Path
from typing import Any

import pytest
import torch
from omegaconf import DictConfig, OmegaConf

from src.models.metric_learning_module import MetricLearningModule
from src.utils.checkpoint import load_model, read_checkpoint
from tests.conftest import HYPER_PARAMETERS, save_checkpoint
from tests.helpers import MODEL_CONFIG


def test_hyper_parameters_and_weights_come_from_the_file(checkpoint: Path) -> None:
    model = load_model(MODEL_CONFIG, read_checkpoint(checkpoint))
    assert isinstance(model, MetricLearningModule)
    assert model.hparams["num_classes"] == HYPER_PARAMETERS["num_classes"]
    saved = torch.load(checkpoint, weights_only=True)["state_dict"]
    assert all(torch.equal(saved[name], value) for name, value in model.state_dict().items())


def test_the_configuration_takes_precedence(checkpoint: Path) -> None:
    model = load_model(
        OmegaConf.merge(MODEL_CONFIG, {"distance": "euclidean"}), read_checkpoint(checkpoint)
    )
    assert model.test_retrieval.distance == "euclidean"


def test_resnet18_where_the_file_does_not_name_a_backbone(tmp_path: Path) -> None:
    state_dict = MetricLearningModule(**HYPER_PARAMETERS).state_dict()
    path = save_checkpoint(
        tmp_path / "old.ckpt", state_dict=state_dict, hyper_parameters=HYPER_PARAMETERS
    )
    assert load_model(MODEL_CONFIG, read_checkpoint(path)).hparams["backbone"] == "resnet18"


def test_weights_that_do_not_fit(tmp_path: Path, checkpoint: Path) -> None:
    state_dict = torch.load(checkpoint, weights_only=True)["state_dict"]
    del state_dict["embedder.bias"]
    path = save_checkpoint(tmp_path / "lacking.ckpt", state_dict=state_dict)
    with pytest.raises(ValueError, match=r"lacking.ckpt does not fit (.|\n)*embedder.bias"):
        load_model(MODEL_CONFIG, read_checkpoint(path))


def test_hyper_parameters_that_the_model_does_not_take(tmp_path: Path) -> None:
    hyper_parameters = {**HYPER_PARAMETERS, "colour": "red"}
    path = save_checkpoint(tmp_path / "odd.ckpt", hyper_parameters=hyper_parameters)
    with pytest.raises(ValueError, match=r"odd.ckpt does not fit .* argument 'colour'"):
        load_model(MODEL_CONFIG, read_checkpoint(path))


def test_no_file(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"No checkpoint at .*missing.ckpt"):
        read_checkpoint(tmp_path / "missing.ckpt")


@pytest.mark.parametrize("content", [b"", b"text", b"PK\x03\x04 a damaged archive"])
def test_no_checkpoint(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "damaged.ckpt"
    path.write_bytes(content)
    with pytest.raises(ValueError, match=r"damaged.ckpt is no checkpoint, or a damaged one"):
        read_checkpoint(path)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ({"embedder.bias": torch.zeros(3)}, r"missing \['state_dict', 'hyper_parameters'\]"),
        ({"state_dict": {}}, r"missing \['hyper_parameters'\]"),
        ([torch.zeros(3)], "found list"),
    ],
)
def test_other_files_of_torch(tmp_path: Path, content: object, message: str) -> None:
    torch.save(content, tmp_path / "bare.ckpt")
    with pytest.raises(ValueError, match=message):
        read_checkpoint(tmp_path / "bare.ckpt")


class Trap:
    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Any, ...]:
        return os.mkdir, (str(self.path),)


@pytest.mark.parametrize("forced", [False, True])
def test_code_in_a_checkpoint_does_not_run(
    tmp_path: Path, forced: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    if forced:
        monkeypatch.setenv("TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD", "1")
    path = save_checkpoint(tmp_path / "trap.ckpt", callbacks=Trap(tmp_path / "ran"))
    with pytest.raises(ValueError, match=r"trap.ckpt holds more than tensors .* posix.mkdir"):
        read_checkpoint(path)
    assert not (tmp_path / "ran").exists()


def test_a_target_among_the_hyper_parameters_does_not_run(tmp_path: Path) -> None:
    trap = {"_target_": "os.mkdir", "path": str(tmp_path / "ran")}
    hyper_parameters = {**HYPER_PARAMETERS, "backbone": trap}
    path = save_checkpoint(tmp_path / "trap.ckpt", hyper_parameters=hyper_parameters)
    with pytest.raises(ValueError, match=r"does not fit MetricLearningModule"):
        load_model(MODEL_CONFIG, read_checkpoint(path))
    assert not (tmp_path / "ran").exists()


def test_other_objects_are_named(tmp_path: Path) -> None:
    hyper_parameters = DictConfig(HYPER_PARAMETERS)
    path = save_checkpoint(tmp_path / "config.ckpt", hyper_parameters=hyper_parameters)
    with pytest.raises(ValueError, match=r"omegaconf.dictconfig.DictConfig"):
        read_checkpoint(path)


def test_digest_and_epoch(checkpoint: Path) -> None:
    read = read_checkpoint(checkpoint)
    assert read.file.sha256 == hashlib.sha256(checkpoint.read_bytes()).hexdigest()
    assert read.file.epoch == 1


@pytest.mark.parametrize("epoch", [None, "3"])
def test_no_epoch(tmp_path: Path, epoch: Any) -> None:
    assert read_checkpoint(save_checkpoint(tmp_path / "some.ckpt", epoch=epoch)).file.epoch is None
