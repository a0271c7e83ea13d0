"""Every option of every group is composed and instantiated."""

from pathlib import Path

import pytest
from hydra import compose, initialize
from hydra.core.hydra_config import HydraConfig
from hydra.utils import instantiate
from omegaconf import DictConfig

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
    others = {"model", "paths", "extras", "hydra", "experiment", "recipe"}
    assert groups == {*INSTANTIATED, *others}


@pytest.mark.parametrize(("group", "option"), [o for g in INSTANTIATED for o in options(g)])
def test_option(group: str, option: str, tmp_path: Path, mlflow_uri: str) -> None:
    name = "train.yaml" if option == "train" else "eval.yaml"
    overrides = [f"{group}={option}", f"paths.output_dir={tmp_path}"]
    if group == "logger" and option in ("mlflow", "many"):
        overrides.append(f"logger.mlflow.tracking_uri={mlflow_uri}")
    if option == "gpu":
        overrides.append("trainer.accelerator=cpu")
    cfg = compose_config(name, *overrides)
    HydraConfig.instance().set_config(cfg)
    arguments = {"logger": False} if group == "trainer" else {}
    assert instantiate(cfg[group], **arguments) is not None


@pytest.mark.parametrize(("_", "experiment"), options("experiment"))
def test_experiment(_: str, experiment: str, tmp_path: Path) -> None:
    overrides = [f"experiment={experiment}", f"paths.output_dir={tmp_path}"]
    cfg = compose_config("eval.yaml", *overrides)
    assert instantiate(cfg.datamodule) is not None
    assert "backbone" not in cfg.model
    cfg = compose_config("train.yaml", *overrides)
    assert cfg.ckpt_path is None
    assert instantiate(cfg.model, num_classes=3) is not None


def test_the_sample_has_its_own_recipe() -> None:
    cfg = compose_config("train.yaml", "experiment=sample")
    assert cfg.model.backbone == "shufflenet_v2_x0_5"
    assert cfg.initial_weights == "random"
