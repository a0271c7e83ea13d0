"""Keep the embeddings of an evaluation, and go on from those of one that was killed."""

import shutil
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
from pytorch_lightning import Callback, LightningModule, Trainer
from torch import Tensor

from src.datamodules.components.resumed_set import ResumedSet
from src.datamodules.components.samples import EmbeddedSample, Sample
from src.datamodules.image_datamodule import ImageDataModule
from src.embeddings.manifest import Content, Manifest
from src.embeddings.shards import Shard, read_record, take_over, write_shard

_SET_NAMES = ("reference", "query")


class KeepEmbeddings(Callback):
    """Write the embeddings of each process to shards as the test goes on, a manifest at its end.

    A shard holds the fewest whole batches that have `shard_images` images, or the last ones of its
    process. Embeddings that come from files are not kept again.

    Args:
        folder: for the files.
        shard_images: images in a shard.
        resume: folder of kept embeddings to take finished shards from; None to begin anew.

    Attributes:
        folder: likewise.
    """

    def __init__(self, folder: Path, shard_images: int, resume: Path | None = None) -> None:
        if shard_images < 1:
            raise ValueError(f"`shard_images` should be at least 1, got {shard_images}")
        self.folder = folder
        self._shard_images = shard_images
        self._resume = resume
        self._pending: list[tuple[Tensor, Tensor]] = []

    def prepare(self, manifest: Manifest) -> None:
        """Prepare the folder, in the first process, before any other can write to it.

        Raises:
            FileNotFoundError: if there is nothing to resume.
            ValueError: if what is to be resumed was made of something else, or otherwise.
        """
        self._manifest = manifest
        if self._resume is not None:
            check_resumable(self._resume, manifest)
        if self._resume is None or self._resume.resolve() != self.folder.resolve():
            shutil.rmtree(self.folder, ignore_errors=True)
            self.folder.mkdir(parents=True)
        manifest.write(self.folder)

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Take this process's finished shards from the folder to resume."""
        self.folder.mkdir(parents=True, exist_ok=True)  # on other machines
        if self._resume is None:
            return
        taken: dict[str, list[tuple[Tensor, Tensor]]] = {name: [] for name in _SET_NAMES}
        for shard, *rows in take_over(self._resume, self.folder, trainer.global_rank):
            taken[shard.set_name].append((rows[0], rows[1]))
        datamodule = _datamodule(trainer)
        for name in _SET_NAMES:
            images = getattr(datamodule, f"{name}_set")
            setattr(datamodule, f"{name}_set", ResumedSet(**vars(images), embedded=taken[name]))

    def on_test_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Read the names of the images."""
        datamodule = _datamodule(trainer)
        self._tables = [each.table() for each in (datamodule.reference_set, datamodule.query_set)]
        self._batches = -(-self._shard_images // datamodule.test_batch_size)

    def on_test_batch_end(
        self,
        trainer: Trainer,
        pl_module: LightningModule,
        outputs: Any,
        batch: Sample | EmbeddedSample,
        batch_idx: int,
        dataloader_idx: int = 0,
    ) -> None:
        """Write a shard once all its batches have come."""
        self._layout = outputs.dtype, outputs.shape[1]
        if isinstance(batch, EmbeddedSample):
            return
        self._pending.append((batch.index, outputs))
        done = batch_idx + 1
        if done % self._batches and done < trainer.num_test_batches[dataloader_idx]:
            return
        index, embeddings = map(torch.cat, zip(*self._pending, strict=True))
        number = batch_idx // self._batches * trainer.world_size + trainer.global_rank
        shard = Shard(_SET_NAMES[dataloader_idx], number)
        table = self._tables[dataloader_idx]
        write_shard(self.folder, shard, trainer.global_rank, index, embeddings, table)
        self._pending.clear()

    def on_test_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Let the first process write the manifest when all have written their shards."""
        records = [read_record(self.folder, trainer.global_rank)] * trainer.world_size
        if trainer.world_size > 1:
            dist.all_gather_object(records, records[0])
        if trainer.is_global_zero:
            dtype, width = self._layout
            shards = {
                shard.file_name: digest for record in records for shard, digest in record.items()
            }
            content = Content(
                str(dtype).removeprefix("torch."), width, dict(sorted(shards.items()))
            )
            replace(self._manifest, content=content).write(self.folder)


def check_resumable(folder: Path, manifest: Manifest) -> None:
    """Refuse to go on with embeddings that were made of something else, or otherwise.

    Args:
        folder: of kept embeddings.
        manifest: of the evaluation that is to go on with them.

    Raises:
        FileNotFoundError: if there are none.
        ValueError: if one of the digests differs, or something else that embeddings depend on.
    """
    kept = Manifest.read(folder)
    if manifest.origin.checkpoint_sha256 is None:
        raise ValueError("`resume` should go with a checkpoint, got random weights")
    made_of = ("checkpoint_sha256", "dataset_digest", "preprocessing_sha256", "network", "flip")
    before, now = (
        {name: getattr(each.origin, name) for name in made_of} | asdict(each.computation)
        for each in (kept, manifest)
    )
    differing = [name for name in now if before[name] != now[name]]
    if differing:
        lines = [f"  {name}: {before[name]} there, {now[name]} here" for name in differing]
        raise ValueError(
            f"`resume` should name an evaluation of the same checkpoint, data and preprocessing in "
            f"the same batches on the same kind of devices, but {folder.parent} differs in\n"
            + "\n".join(lines)
        )


def _datamodule(trainer: Trainer) -> ImageDataModule:
    datamodule = trainer.datamodule  # type: ignore[attr-defined]
    assert isinstance(datamodule, ImageDataModule)
    return datamodule
