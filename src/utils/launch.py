"""Whether the processes that were started work together."""

import os

from pytorch_lightning import Trainer
from torch.distributed import is_torchelastic_launched


def refuse_separate_processes(trainer: Trainer) -> None:
    """Refuse to do in each of torchrun's processes what all of them should do together.

    Raises:
        ValueError: if torchrun started several processes and the trainer knows of one.
    """
    started = int(os.environ.get("WORLD_SIZE", 1)) if is_torchelastic_launched() else 1
    if started > trainer.world_size:
        raise ValueError(
            f"`trainer` should be distributed as torchrun started {started} processes, got one "
            f"with {trainer.world_size}: choose trainer=ddp (or trainer=ddp_sim without GPUs), "
            "trainer.devices=<processes per machine> and trainer.num_nodes=<machines>"
        )
