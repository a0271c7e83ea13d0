"""Let other work begin when the first images are embedded, and not sooner."""

from threading import Event
from typing import Any

from pytorch_lightning import Callback


class FirstBatch(Callback):
    """Tells when the first batch of a test is done.

    Attributes:
        done: whether it is.
    """

    def __init__(self) -> None:
        self.done = Event()

    def on_test_batch_end(self, *_: Any, **__: Any) -> None:
        """Set `done`."""
        self.done.set()
