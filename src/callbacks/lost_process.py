"""The end of a job that has lost one of its processes."""

import os
import sys
import threading
from datetime import timedelta
from typing import Any

import torch
import torch.distributed as dist
from pytorch_lightning import Callback, LightningModule, Trainer

_FOREVER = timedelta(days=365)
_SECONDS_TO_NOTICE = 5


class LostProcess(Callback):
    """Ends this process as soon as another process of the job is gone before its time.

    Else it would go on until the two next have to meet, and with NCCL wait there for half an hour.
    Each process waits for a word from the next in a ring, which comes when the next has finished.
    If the next process ends without it, for whatever reason, the operating system closes the
    connection at once. This process then ends too, and the one before it notices in turn.
    """

    def __init__(self) -> None:
        self._ring: Any = None  # as torch.distributed types its groups

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Begin to watch, in a group apart from that of the embeddings."""
        if trainer.world_size > 1:
            self._finished = False
            self._rank, self._size = trainer.global_rank, trainer.world_size
            self._ring = dist.new_group(backend="gloo", timeout=_FOREVER)
            self._thread = threading.Thread(target=self._watch, daemon=True)
            self._thread.start()

    def teardown(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Tell the process before that this one has finished, and wait for the next."""
        if self._ring is not None:
            before = (self._rank - 1) % self._size
            dist.send(torch.zeros(1), group=self._ring, group_dst=before)
            self._thread.join()
            self._ring = None

    def on_exception(
        self, trainer: Trainer, pl_module: LightningModule, exception: BaseException
    ) -> None:
        """Let this process fail by itself, unless it fails because another one is gone."""
        if self._ring is not None:
            if isinstance(exception, RuntimeError):  # of which kind are the errors of collectives
                self._thread.join(_SECONDS_TO_NOTICE)
            self._finished = True

    def _watch(self) -> None:
        after = (self._rank + 1) % self._size
        try:
            dist.recv(torch.zeros(1), group=self._ring, group_src=after)
        except RuntimeError:
            if not self._finished:
                print(
                    f"\nError: rank {after} ended early, so rank {self._rank} ends too",
                    file=sys.stderr,
                    flush=True,
                )
                os._exit(1)
