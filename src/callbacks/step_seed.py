"""Randomness that a resumed training shares with an unbroken one."""

from typing import Any

import torch
from pytorch_lightning import Callback, LightningModule, Trainer


class StepSeed(Callback):
    """Seeds torch's generators by seed, step and rank before every training step.

    Dropout and the like then do not depend on what ran before. The images have seeds of their own.

    Args:
        seed: any integer.
    """

    def __init__(self, seed: int) -> None:
        self.seed = seed

    def on_train_batch_start(
        self, trainer: Trainer, pl_module: LightningModule, batch: Any, batch_idx: int
    ) -> None:
        """Seed the step."""
        torch.manual_seed(hash((self.seed, trainer.global_step, trainer.global_rank)))
