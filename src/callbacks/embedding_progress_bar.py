"""Progress of the test, set by set."""

from typing import Any

from pytorch_lightning import LightningModule, Trainer
from pytorch_lightning.callbacks import ProgressBar
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    ProgressColumn,
    Task,
    TaskID,
    TextColumn,
    TimeRemainingColumn,
)
from rich.text import Text


class ImagesPerSecondColumn(ProgressColumn):
    """Speed in images per second, over all devices."""

    def render(self, task: Task) -> Text:
        """Speed of a task: the average once it is finished."""
        speed = task.finished_speed or task.speed
        return Text("" if speed is None else f"{speed:,.0f} images/s", style="progress.data.speed")


class EmbeddingProgressBar(ProgressBar):
    """A bar for every set whose images are embedded."""

    def __init__(self) -> None:
        super().__init__()
        self._enabled = True
        self._progress: Progress | None = None
        self._tasks: dict[int, TaskID] = {}

    def disable(self) -> None:
        """Show nothing, as Lightning asks of all ranks but the first."""
        self._enabled = False

    def enable(self) -> None:
        """Show the bars."""
        self._enabled = True

    def on_test_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Start with no bar."""
        self._tasks = {}
        self._progress = Progress(
            TextColumn("embedding {task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            ImagesPerSecondColumn(),
            TimeRemainingColumn(elapsed_when_finished=True),
            disable=not self._enabled,
        )
        self._progress.start()

    def on_test_batch_start(
        self,
        trainer: Trainer,
        pl_module: LightningModule,
        batch: Any,
        batch_idx: int,
        dataloader_idx: int = 0,
    ) -> None:
        """Add a bar at the first batch of a set."""
        if self._progress is not None and dataloader_idx not in self._tasks:
            dataset = _dataset(trainer, dataloader_idx)
            self._tasks[dataloader_idx] = self._progress.add_task(dataset.name, total=len(dataset))

    def on_test_batch_end(
        self,
        trainer: Trainer,
        pl_module: LightningModule,
        outputs: Any,
        batch: Any,
        batch_idx: int,
        dataloader_idx: int = 0,
    ) -> None:
        """Count the images of the batch on every device."""
        if self._progress is not None:
            task = self._progress.tasks[self._tasks[dataloader_idx]]
            # Devices get equally many images: some of them twice.
            done = task.completed + len(batch.image) * trainer.world_size
            self._progress.update(task.id, completed=min(done, task.total or done))

    def on_test_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Leave the finished bars on the screen."""
        self._stop()

    def on_exception(
        self, trainer: Trainer, pl_module: LightningModule, exception: BaseException
    ) -> None:
        """Give the terminal back."""
        self._stop()

    def _stop(self) -> None:
        if self._progress is not None:
            self._progress.stop()
            self._progress = None


def _dataset(trainer: Trainer, dataloader_idx: int) -> Any:
    loaders = trainer.test_dataloaders
    assert isinstance(loaders, list)
    return loaders[dataloader_idx].dataset
