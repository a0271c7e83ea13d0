"""The progress of an evaluation, set by set."""

from typing import Any

from pytorch_lightning import LightningModule, Trainer
from pytorch_lightning.callbacks import RichProgressBar
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    ProgressColumn,
    Task,
    TextColumn,
    TimeRemainingColumn,
)
from rich.text import Text

from src.datamodules.components.samples import EmbeddedSample
from src.datamodules.retrieval_datamodule import RetrievalDataModule


class ImagesPerSecondColumn(ProgressColumn):
    """Average speed in images per second, over all devices."""

    def render(self, task: Task) -> Text:
        """Return the speed of a task."""
        seconds = task.finished_time or task.elapsed
        speed = f"{task.completed / seconds:,.0f} images/s" if seconds else ""
        return Text(speed, style="progress.data.speed")


class EmbeddingProgressBar(RichProgressBar):
    """A bar for every set that is embedded, which counts images instead of batches."""

    def configure_columns(self, trainer: Trainer) -> list[ProgressColumn]:
        """Return what each bar shows."""
        return [
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            ImagesPerSecondColumn(),
            TimeRemainingColumn(elapsed_when_finished=True),
        ]

    def on_test_batch_start(
        self,
        trainer: Trainer,
        pl_module: LightningModule,
        batch: Any,
        batch_idx: int,
        dataloader_idx: int = 0,
    ) -> None:
        """Add a bar at the first batch of a set."""
        if self.progress is not None and self.has_dataloader_changed(dataloader_idx):
            datamodule: RetrievalDataModule = trainer.datamodule  # type: ignore[attr-defined]
            images = (datamodule.reference_set, datamodule.query_set)[dataloader_idx]
            verb = "reading" if isinstance(batch, EmbeddedSample) else "embedding"
            self.test_progress_bar_id = self.progress.add_task(
                f"{verb} {images.name}", total=len(images)
            )

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
        if self.progress is not None:
            task = self.test_progress_bar
            # The first device has no fewer images than any other.
            done = task.completed + len(batch.index) * trainer.world_size
            self.progress.update(task.id, completed=min(done, task.total or done))
            self.refresh()
