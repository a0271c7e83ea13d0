"""Data, checkpoints and configurations made on the fly."""

import os
import shutil
import zlib
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import jaxtyping
import numpy as np
import pytest
import torch
from hydra import compose, initialize
from omegaconf import DictConfig
from PIL import Image

from src.models.metric_learning_module import MetricLearningModule

# The networks are tiny: threads would mostly wait for each other.
torch.set_num_threads(1)

ROOT = Path(__file__).resolve().parents[1]

# identity -> cameras of its images. `reference` and `query` hold different sets of identities, so
# that a label by position of the folder would be wrong.
REFERENCE = {"0002": [1, 2, 3], "0005": [1, 1], "0007": [4, 5, 6], "0011": [2]}
QUERY = {"0005": [2, 3], "0007": [1, 2], "0011": [1]}
TRAIN = {"0003": [1, 2], "0004": [1, 2, 3], "0008": [5, 6]}
VAL = {"0003": [3], "0008": [1]}


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--device", default="cuda", help="of the tests that are marked with gpu")


def save_image(path: Path, seed: object, size: tuple[int, int] = (64, 128)) -> None:
    """Save an image whose colours depend on the seed and, as much, on the person in the name."""
    path.parent.mkdir(parents=True, exist_ok=True)
    person = path.name.split("_")[0]
    mixed = [
        np.random.default_rng(zlib.crc32(str(source).encode())).integers(0, 256, (8, 4, 3))
        for source in (person, seed)
    ]
    colours = (sum(mixed) / len(mixed)).astype(np.uint8)
    Image.fromarray(colours).resize(size, Image.Resampling.BICUBIC).save(path, quality=90)


def market_name(identity: str, camera: int, frame: int) -> str:
    return f"{identity}_c{camera}s1_{frame:06d}_01.jpg"


def make_prepared(root: Path, **sets: Mapping[str, list[int]]) -> Path:
    """Write sets in the prepared layout."""
    for name, identities in sets.items():
        for identity, cameras in identities.items():
            for frame, camera in enumerate(cameras):
                file_name = market_name(identity, camera, frame)
                save_image(root / name / identity / file_name, (name, identity, frame))
    return root


def make_official(root: Path) -> Path:
    """Write the same reference and query sets in the official layout, with junk and distractors."""
    folders = {"bounding_box_test": ("reference", REFERENCE), "query": ("query", QUERY)}
    for folder, (name, identities) in folders.items():
        for identity, cameras in identities.items():
            for frame, camera in enumerate(cameras):
                file_name = market_name(identity, camera, frame)
                save_image(root / folder / file_name, (name, identity, frame))
    for identity in ("-1", "0000"):
        for frame in range(2):
            save_image(root / "bounding_box_test" / market_name(identity, 1, frame), identity)
    for identity, cameras in TRAIN.items():
        for frame, camera in enumerate(cameras):
            file_name = market_name(identity, camera, frame)
            save_image(root / "bounding_box_train" / file_name, ("train", identity, frame))
    return root


@pytest.fixture
def unchecked(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let a test give the library arguments that its annotations forbid."""
    monkeypatch.setattr(jaxtyping.config, "jaxtyping_disable", True)


@pytest.fixture(scope="session")
def prepared_data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("prepared")
    return make_prepared(root, train=TRAIN, val=VAL, reference=REFERENCE, query=QUERY)


@pytest.fixture(scope="session")
def official_data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_official(tmp_path_factory.mktemp("official"))


HYPER_PARAMETERS = {"num_classes": 5, "embedding_size": 16, "lr": 0.05, "wd": 5e-4}


def save_checkpoint(path: Path, **changes: Any) -> Path:
    """Save a small network as Lightning does; keyword arguments replace keys of the checkpoint."""
    hyper_parameters = {**HYPER_PARAMETERS, "backbone": "shufflenet_v2_x0_5"}
    torch.manual_seed(0)
    model = MetricLearningModule(**hyper_parameters)
    checkpoint = {
        "epoch": 1,
        "global_step": 2,
        "pytorch-lightning_version": "1.8.6",
        "state_dict": model.state_dict(),
        "hyper_parameters": hyper_parameters,
    }
    torch.save({**checkpoint, **changes}, path)
    return path


@pytest.fixture(scope="session")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_checkpoint(tmp_path_factory.mktemp("models") / "small.ckpt")


@pytest.fixture(scope="session")
def empty_mlflow_database(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A database with MLflow's tables: copying it is far faster than making another."""
    from mlflow.tracking import MlflowClient

    path = tmp_path_factory.mktemp("mlflow") / "mlflow.db"
    MlflowClient(f"sqlite:///{path}").search_experiments()
    return path


@pytest.fixture
def mlflow_uri(tmp_path: Path, empty_mlflow_database: Path) -> str:
    shutil.copy(empty_mlflow_database, tmp_path / "mlflow.db")
    return f"sqlite:///{tmp_path}/mlflow.db"


ComposeConfig = Callable[..., DictConfig]


@pytest.fixture
def compose_config(
    tmp_path: Path, prepared_data: Path, mlflow_uri: str, monkeypatch: pytest.MonkeyPatch
) -> ComposeConfig:
    """Compose a configuration with small data and all output in tmp_path."""
    monkeypatch.setenv("MLFLOW_TRACKING_URI", mlflow_uri)

    def compose_config(name: str, *overrides: str) -> DictConfig:
        is_listing = "datamodule=listing" in overrides
        data = [] if is_listing else [f"datamodule.data_dir={prepared_data}"]
        with initialize(version_base="1.3", config_path="../configs"):
            cfg = compose(
                name, return_hydra_config=True, overrides=[*data, "trainer=cpu", *overrides]
            )
        cfg.paths.output_dir = str(tmp_path / "run")
        return cfg

    return compose_config


@pytest.fixture
def eval_config(compose_config: ComposeConfig, checkpoint: Path) -> ComposeConfig:
    """Compose configs/eval.yaml with a small checkpoint, and no analysis of its result."""
    return partial(compose_config, "eval.yaml", f"ckpt_path={checkpoint}", "callbacks=none")


@pytest.fixture
def train_config(compose_config: ComposeConfig) -> ComposeConfig:
    """Compose configs/train.yaml with a small network and two epochs."""
    return partial(
        compose_config,
        "train.yaml",
        "initial_weights=random",
        "model.backbone=shufflenet_v2_x0_5",
        "model.embedding_size=16",
        "model.lr=0.01",
        "datamodule.batch_size=4",
        "trainer.max_epochs=2",
        "callbacks.progress_bar.refresh_rate=0",
    )


@pytest.fixture
def process_environment(tmp_path: Path) -> dict[str, str]:
    """Environment of a command that is run as a user would, with MLflow in tmp_path."""
    uri = f"sqlite:///{tmp_path}/mlflow.db"
    return {**os.environ, "MLFLOW_TRACKING_URI": uri, "OMP_NUM_THREADS": "1"}
