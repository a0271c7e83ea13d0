"""Check that the processes that were started work together."""

import os

from pytorch_lightning import Trainer
from pytorch_lightning.utilities import rank_zero_only
from torch.distributed import is_torchelastic_launched


def is_first_process() -> bool:
    """Tell whether this process has rank 0 of its job; alone it has."""
    return bool(rank_zero_only.rank == 0)  # type: ignore[attr-defined]


def refuse_separate_processes(trainer: Trainer) -> None:
    """Refuse to repeat in each of torchrun's processes what they should do together.

    Raises:
        ValueError: if torchrun started more processes than the trainer uses.
    """
    started = int(os.environ.get("WORLD_SIZE", 1)) if is_torchelastic_launched() else 1
    if started > trainer.world_size:
        raise ValueError(
            f"`trainer` should be distributed because torchrun started {started} processes, got "
            f"{trainer.world_size}: choose trainer=ddp (or trainer=ddp_sim without GPUs), "
            "trainer.devices=<processes per machine> and trainer.num_nodes=<machines>"
        )
    if trainer.num_nodes > 1:
        message = f"Waiting for the processes of {trainer.num_nodes} machines (trainer.num_nodes)"
        rank_zero_only(print)(message, flush=True)
