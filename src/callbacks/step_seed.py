"""Make a resumed training draw the same random numbers as an unbroken one."""

from typing import Any

import torch
from pytorch_lightning import Callback, LightningModule, Trainer

from src.utils.seeding import derive_seed


class StepSeed(Callback):
    """Seed torch's generators by seed, step and rank before every training step.

    Dropout then does not depend on what ran before. Augmentation has seeds of its own.

    Args:
        seed: of the run, not negative.
    """

    def __init__(self, seed: int) -> None:
        self.seed = seed

    def on_train_batch_start(
        self, trainer: Trainer, pl_module: LightningModule, batch: Any, batch_idx: int
    ) -> None:
        """Seed the step."""
        torch.manual_seed(derive_seed(self.seed, trainer.global_step, trainer.global_rank))
