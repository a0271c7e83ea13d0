"""Every option of every group is composed and instantiated."""

from pathlib import Path

import pytest
from hydra import compose, initialize
from hydra.core.hydra_config import HydraConfig
from hydra.utils import get_object, instantiate
from omegaconf import DictConfig, OmegaConf

from src.preprocessing import Preprocessing, choose_preprocessing
from src.train import evaluation_config
from tests.conftest import ROOT

CONFIGS = ROOT / "configs"
INSTANTIATED = ["datamodule", "trainer", "logger", "callbacks"]


def options(group: str) -> list[tuple[str, str]]:
    return [(group, path.stem) for path in sorted((CONFIGS / group).glob("*.yaml"))]


def compose_config(name: str, *overrides: str) -> DictConfig:
    with initialize(version_base="1.3", config_path="../configs"):
        return compose(name, return_hydra_config=True, overrides=list(overrides))


def test_every_group_is_known() -> None:
    groups = {path.name for path in CONFIGS.iterdir() if path.is_dir()}
    others = {"model", "preprocessing", "reranking", "analysis", "embeddings"}
    others |= {"paths", "extras", "hydra", "experiment"}
    assert groups == {*INSTANTIATED, *others}


@pytest.mark.parametrize(("group", "option"), [o for g in INSTANTIATED for o in options(g)])
def test_option(group: str, option: str, tmp_path: Path, mlflow_uri: str) -> None:
    name = "train.yaml" if option == "train" else "eval.yaml"
    overrides = [f"{group}={option}", f"paths.output_dir={tmp_path}"]
    if option == "mlflow":
        overrides.append(f"logger.mlflow.tracking_uri={mlflow_uri}")
    if option in ("tensorboard", "wandb"):
        pytest.importorskip(option, reason=f"the extra {option} is not installed")
    if option == "listing":
        overrides.append(f"datamodule.file={tmp_path / 'images.csv'}")
    if option == "gpu":
        overrides.append("trainer.accelerator=cpu")
    cfg = compose_config(name, *overrides)
    HydraConfig.instance().set_config(cfg)
    arguments = {"logger": False} if group == "trainer" else {}
    assert instantiate(cfg[group], **arguments) is not None


@pytest.mark.parametrize("name", ["eval.yaml", "train.yaml", "compare.yaml"])
def test_loggers_combine(name: str) -> None:
    assert list(compose_config(name, "logger=[mlflow,csv]").logger) == ["mlflow", "csv"]
    assert list(compose_config(name).logger) == ["mlflow"]
    assert compose_config(name, "logger=none").logger == {}


@pytest.mark.parametrize(("_", "experiment"), options("experiment"))
def test_experiment(_: str, experiment: str, tmp_path: Path) -> None:
    overrides = [f"experiment={experiment}", f"paths.output_dir={tmp_path}"]
    cfg = compose_config("eval.yaml", *overrides)
    assert instantiate(cfg.datamodule) is not None
    assert "backbone" not in cfg.model
    cfg = compose_config("train.yaml", *overrides)
    assert cfg.ckpt_path is None
    assert instantiate(cfg.model, num_classes=3) is not None


@pytest.mark.parametrize(
    "option", ["precision=bf16-mixed", "limit_train_batches=3", "max_steps=7", "strategy=ddp"]
)
def test_options_of_the_trainer_need_no_plus(option: str) -> None:
    name, _, value = option.partition("=")
    trainer = compose_config("train.yaml", f"trainer.{option}").trainer
    assert str(trainer[name]) == value


def test_the_sample_is_trained_in_its_own_way() -> None:
    cfg = compose_config("train.yaml", "experiment=sample")
    assert cfg.model.backbone == "shufflenet_v2_x0_5"
    assert cfg.initial_weights == "random"
    assert cfg.tags == ["sample"]


def test_embeddings_need_neither_network_nor_checkpoint() -> None:
    cfg = compose_config("eval.yaml", "datamodule=embeddings", "model.k=3")
    assert cfg.ckpt_path is None
    assert cfg.model == {
        "_target_": "src.models.retrieval_module.RetrievalModule",
        "distance": "cosine",
        "k": 3,
        "vote": "majority",
    }


@pytest.mark.parametrize(
    ("option", "expected"),
    [
        ("market", Preprocessing()),
        (
            "imagenet",
            Preprocessing((224, 224), mean=(0.485, 0.456, 0.406), std=(0.229, 0.224, 0.225)),
        ),
    ],
)
def test_preprocessing(option: str, expected: Preprocessing) -> None:
    cfg = compose_config("eval.yaml", f"preprocessing={option}")
    options = OmegaConf.to_container(cfg.preprocessing)
    assert choose_preprocessing(options, None) == (expected, [])


def test_by_default_the_network_says_how_images_are_prepared() -> None:
    options = OmegaConf.to_container(compose_config("eval.yaml").preprocessing)
    assert options == dict.fromkeys(Preprocessing().to_dict(), "auto")
    trained = OmegaConf.to_container(compose_config("train.yaml").preprocessing)
    assert trained == Preprocessing().to_dict()


@pytest.mark.parametrize("option", ["module", "timm", "exported", "onnx"])
def test_other_networks_need_no_checkpoint(option: str) -> None:
    cfg = compose_config("eval.yaml", f"model={option}", "model.flip=true")
    assert cfg.ckpt_path is None
    assert callable(get_object(cfg.model._target_))


@pytest.mark.parametrize("name", ["eval.yaml", "train.yaml"])
def test_without_callbacks_there_is_no_report(name: str) -> None:
    assert compose_config(name).analysis.report
    cfg = compose_config(name, "callbacks=none")
    assert cfg.callbacks == {}
    assert not cfg.analysis.report
    assert not cfg.embeddings.keep


def test_the_evaluation_after_a_training_has_what_an_evaluation_needs() -> None:
    options = ["datamodule.batch_size=7", "model.distance=euclidean", "analysis.confidence=0.9"]
    options += ["paths.output_dir=run"]
    expected = compose_config("eval.yaml", "ckpt_path=best.ckpt", *options)
    cfg = evaluation_config(compose_config("train.yaml", *options), "best.ckpt")
    assert expected.keys() <= cfg.keys()
    assert cfg.logger is None
    for key in (
        "ckpt_path",
        "datamodule",
        "reranking",
        "analysis",
        "callbacks",
        "embeddings",
        "extras",
    ):
        assert cfg[key] == expected[key]
    assert expected.model.items() <= cfg.model.items()
    assert expected.trainer.items() <= cfg.trainer.items()
