"""End the processes of a distributed job when one of them has died."""

import os
import sys
import threading
from contextlib import suppress
from datetime import timedelta
from typing import Any

import torch
import torch.distributed as dist
from pytorch_lightning import Callback, LightningModule, Trainer

_FOREVER = timedelta(days=365)
_SECONDS_TO_NOTICE = 5
_FINISHED, _ENDED_BY_SIGNAL = 0, 1


class LostProcess(Callback):
    """End this process as soon as another process of the job ends early.

    Otherwise it would run to the next collective and, under NCCL, block there for half an hour.
    Each process waits for a message from the next one in a ring, which sends it when it finishes.
    If that process dies first, for whatever reason, the operating system closes the connection.
    This process then ends at once, and the one before it notices in turn. A process that a signal
    ends sends a message, too: Lightning passes SIGTERM on to all processes of a machine, so that
    this process is about to end by itself.
    """

    def __init__(self) -> None:
        self._ring: Any = None  # as torch.distributed types its groups

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Start to watch, in a process group apart from that of the embeddings."""
        if trainer.world_size > 1:
            self._has_failed = threading.Event()
            self._rank, self._size = trainer.global_rank, trainer.world_size
            self._ring = dist.new_group(backend="gloo", timeout=_FOREVER)
            self._thread = threading.Thread(target=self._watch, daemon=True)
            self._thread.start()

    def teardown(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Tell the previous process that this one has finished, and wait for the next one."""
        if self._ring is not None:
            self._tell_previous(_FINISHED)
            self._thread.join()
            self._ring = None

    def on_exception(
        self, trainer: Trainer, pl_module: LightningModule, exception: BaseException
    ) -> None:
        """Let the exception pass, unless it is a consequence of another process's end."""
        if self._ring is None:
            return
        if isinstance(exception, RuntimeError):  # what a collective raises without its peer
            self._thread.join(_SECONDS_TO_NOTICE)
        self._has_failed.set()
        if isinstance(exception, SystemExit | KeyboardInterrupt):
            with suppress(RuntimeError):  # the other process has ended, too
                self._tell_previous(_ENDED_BY_SIGNAL)

    def _tell_previous(self, message: int) -> None:
        previous = (self._rank - 1) % self._size
        dist.send(torch.tensor([message]), group=self._ring, group_dst=previous)

    def _watch(self) -> None:
        following = (self._rank + 1) % self._size
        message = torch.tensor([_FINISHED])
        try:
            dist.recv(message, group=self._ring, group_src=following)
            if int(message) == _FINISHED or self._has_failed.wait(_SECONDS_TO_NOTICE):
                return
        except RuntimeError:
            if self._has_failed.is_set():
                return
        print(
            f"\nError: rank {following} ended early, so rank {self._rank} ends too",
            file=sys.stderr,
            flush=True,
        )
        os._exit(1)
