"""What tests of several rooms need."""

import os
import time
from pathlib import Path
from typing import Any
from unittest import mock

from mlflow.tracking import MlflowClient
from omegaconf import OmegaConf
from pytorch_lightning import Callback, Trainer

from src.datamodules.components.samples import EmbeddedSample
from src.exact_retrieval import EmbeddingRetrieval
from src.models.retrieval_module import RetrievalModule

MODEL_CONFIG = OmegaConf.create(
    {"_target_": "src.models.metric_learning_module.MetricLearningModule", "distance": "cosine"}
)
"""The configuration with which a checkpoint is loaded."""


def only_run(uri: str) -> Any:
    """Return the one run that an MLflow database holds."""
    client = MlflowClient(uri)
    (run,) = client.search_runs([e.experiment_id for e in client.search_experiments()])
    return run


def embed_again(objects: dict[str, Any]) -> EmbeddingRetrieval:
    """Return a metric with the samples of an evaluation, which embeds them a second time."""
    model = objects["model"]
    with mock.patch.object(RetrievalModule, "on_test_epoch_end"):
        objects["trainer"].test(model, datamodule=objects["datamodule"], verbose=False)
    metric: EmbeddingRetrieval = model.test_retrieval
    return metric


class Pause(Callback):
    """Holds every rank at its first batch, and writes its process id to `<folder>/rank_<n>`."""

    def __init__(self, folder: str) -> None:
        self.folder = Path(folder)

    def on_test_batch_start(self, trainer: Trainer, *_: Any) -> None:
        path = self.folder / f"rank_{trainer.global_rank}"
        path.with_suffix(".tmp").write_text(str(os.getpid()))
        path.with_suffix(".tmp").rename(path)
        time.sleep(120)


class SlowEmbedding(Callback):
    """Waits before every batch of images."""

    def __init__(self, seconds: float) -> None:
        self.seconds = seconds

    def on_test_batch_start(self, trainer: Trainer, module: Any, batch: Any, *_: Any) -> None:
        if not isinstance(batch, EmbeddedSample):
            time.sleep(self.seconds)
