"""Images for training and for nearest-neighbour evaluation."""

from abc import abstractmethod
from collections.abc import Iterable
from itertools import chain
from pathlib import Path
from typing import Any, Literal

from pytorch_lightning.utilities import rank_zero_only
from torch.utils.data import DataLoader

from src.datamodules.components.augmentation import AugmentedImageSet, EpochSampler
from src.datamodules.components.batches import Batches
from src.datamodules.components.image_listing import NOT_IMAGES, LeftOut, Listing
from src.datamodules.components.image_set import ImageSet
from src.datamodules.components.inspection import Inspection, hash_files, inspect_images
from src.datamodules.components.layouts import ImageFile, SetName
from src.datamodules.components.remarks import (
    remark_on_copies,
    remark_on_names,
    remark_on_sizes,
    remark_on_training,
)
from src.datamodules.components.samples import EmbeddedSample, Sample
from src.datamodules.retrieval_datamodule import LEAVE_ONE_OUT, RetrievalDataModule
from src.preprocessing import AUTO, Preprocessing
from src.utils.cores import usable_cores
from src.utils.launch import is_first_process


class ImageDataModule(RetrievalDataModule):
    """The sets `train`, `val`, `reference` and `query` as images.

    A subclass lists the images of each set. One mapping from identity names to integers serves
    `reference` and `query`, which may hold different identities. A label of `train` is the position
    of its identity among the sorted identities of `train`; `val` uses the same integers, and
    further ones for identities that `train` lacks. Cameras are numbered likewise.

    Args:
        data_dir: folder that paths of images are relative to.
        batch_size: images in a batch. "auto" is 32 in a training. In an evaluation it is 256 on a
            GPU, and on the CPU 64, or fewer if images have more pixels than 128 x 64.
        num_workers: what reads images beside the main thread: processes in a training, threads in
            an evaluation, which has at least one. "auto" is one for each core that the process has
            to itself, at most 8; none in a training on the CPU, whose network is far slower.
        pin_memory: whether pixels are put into page-locked memory, for faster copies to a GPU.
            "auto" is where there is one.
        seed: of the order and the augmentation of the training images.

    Attributes:
        preprocessing: of all images; not to be set after `setup`.
        train_set, val_set: datasets, after `setup("fit")`.
        reference_set, query_set: datasets, after `setup("test")`.
        training_digest: of the content of `train` and `val`, after `setup("fit")` on rank 0.
        inspection: digest and image sizes of the test sets, after `setup("test")` on rank 0.

    Raises:
        ValueError: if an option is another.
    """

    train_set: ImageSet
    val_set: ImageSet
    reference_set: ImageSet
    query_set: ImageSet
    training_digest = ""
    inspection: Inspection

    def __init__(
        self,
        data_dir: str | Path,
        batch_size: int | Literal["auto"] = AUTO,
        num_workers: int | Literal["auto"] = AUTO,
        pin_memory: bool | Literal["auto"] = AUTO,
        seed: int = 0,
    ) -> None:
        super().__init__()
        _check_count("batch_size", batch_size, at_least=1)
        _check_count("num_workers", num_workers, at_least=0)
        self.data_dir = Path(data_dir)
        self.batch_size = batch_size
        self.num_workers = num_workers
        self.pin_memory = pin_memory
        self.seed = seed
        self.preprocessing = Preprocessing()

    @abstractmethod
    def list_set(self, set_name: SetName) -> Listing:
        """List the images of a set.

        Raises:
            FileNotFoundError: if there is no such set.
            ValueError: if it is not as it should be.
        """

    @property
    def num_classes(self) -> int:
        """Number of identities in `train`."""
        return len(self.train_set.identities)

    @property
    def val_has_unseen_identities(self) -> bool:
        """Whether `val` holds identities that `train` lacks."""
        return not self.val_set.identities <= self.train_set.identities

    def setup(self, stage: str) -> None:
        """List the images that a stage needs, once, however often it is called.

        Args:
            stage: "fit", "validate" or "test".

        Raises:
            FileNotFoundError: if there is no data.
            ValueError: if the data is not as it should be, or a file is unreadable.
        """
        if stage in ("fit", "validate") and not hasattr(self, "train_set"):
            self._setup_fit()
        if stage == "test" and not hasattr(self, "query_set"):
            self._setup_test()
        if stage == "test" and self.trainer is not None:
            self._expect_digests()

    def train_dataloader(self) -> DataLoader[Sample]:
        """Return the batches of `train`, in another order every epoch."""
        trainer, (rank, ranks) = self.trainer, self.ranks
        sampler = EpochSampler(self.train_set, num_replicas=ranks, rank=rank, seed=self.seed)
        # Lightning sets the epoch too, but in a resumed training only after workers have started,
        # and `current_epoch` is then still the epoch at whose end the checkpoint was written.
        epochs = trainer.fit_loop.epoch_progress.current.processed if trainer else 0  # type: ignore[attr-defined]
        sampler.set_epoch(epochs)
        return self._loader(self.train_set, sampler=sampler)

    def val_dataloader(self) -> DataLoader[Sample]:
        """Return the batches of `val`."""
        return self._loader(self.val_set)

    def test_dataloader(self) -> list[Batches]:
        """Return this process's batches of `reference` and of `query`, in this order."""
        rank, ranks = self.ranks
        return [
            Batches(
                image_set,
                range(rank, len(image_set), ranks),
                self.test_batch_size,
                max(self.workers, 1),
                self._pins,
            )
            for image_set in self._test_sets
        ]

    def on_after_batch_transfer(
        self, batch: Sample | EmbeddedSample, dataloader_idx: int
    ) -> Sample | EmbeddedSample:
        """Turn pixels into the network's input, on its device."""
        if isinstance(batch, EmbeddedSample):
            return batch
        return batch._replace(image=self.preprocessing.normalise(batch.image))

    @property
    def test_batch_size(self) -> int:
        """Images in a batch of an evaluation."""
        if isinstance(self.batch_size, int):
            return self.batch_size
        if self._on_gpu:
            return 256
        height, width = self.preprocessing.size
        return min(max(64 * 128 * 64 // (height * width), 4), 64)

    @property
    def workers(self) -> int:
        """Threads of an evaluation, or processes of a training on a GPU; see `num_workers`."""
        if isinstance(self.num_workers, int):
            return self.num_workers
        processes = self.trainer.num_devices if self.trainer else 1
        return min(max(usable_cores() // processes, 1), 8)

    @property
    def _test_sets(self) -> list[ImageSet]:
        return [self.reference_set] if self.leave_one_out else [self.reference_set, self.query_set]

    @property
    def _on_gpu(self) -> bool:
        return self.trainer is not None and self.trainer.strategy.root_device.type != "cpu"

    @property
    def _pins(self) -> bool:
        return self._on_gpu if isinstance(self.pin_memory, str) else self.pin_memory

    def _setup_fit(self) -> None:
        train, val = self.list_set("train"), self.list_set("val")
        classes = sorted({image.identity for image in train.images})
        unseen = sorted({image.identity for image in val.images}.difference(classes))
        numbers = _number([*classes, *unseen]), _number_cameras(train, val)
        transform = self.preprocessing.augmented()
        self.train_set = AugmentedImageSet(
            "train", self.data_dir, train.images, *numbers, transform, self.seed
        )
        self.val_set = ImageSet("val", self.data_dir, val.images, *numbers, self.preprocessing.fit)
        self._note_left_out(train, val)
        if is_first_process():
            self.training_digest = inspect_images([self.train_set, self.val_set]).digest

    def _setup_test(self) -> None:
        reference, query = self.list_set("reference"), self.list_set("query")
        identities = {image.identity for image in [*reference.images, *query.images]}
        numbers = _number(sorted(identities)), _number_cameras(reference, query)
        sets = [
            ImageSet(name, self.data_dir, listing.images, *numbers, self.preprocessing.fit)
            for name, listing in (("reference", reference), ("query", query))
        ]
        if self.leave_one_out:
            sets.pop()
            self.notice = LEAVE_ONE_OUT
        self._note_left_out(reference, query)
        self._inspect(sets)
        self.reference_set, self.query_set = sets[0], sets[-1]

    @rank_zero_only
    def _inspect(self, sets: list[ImageSet]) -> None:
        self.inspection = inspect_images(sets)
        digests = self.inspection.digests
        contents = [dict(zip(each.images, digests[each.name], strict=True)) for each in sets]
        reference, query = [*contents, {}][:2]
        self.remark(
            remark_on_sizes(self.inspection.image_sizes, self.preprocessing.size)
            | remark_on_names(sets[0].identities, sets[-1].identities)
            | remark_on_copies(reference, query)
            | remark_on_training(self._hash_training_images(), {**reference, **query})
        )

    def _hash_training_images(self) -> dict[ImageFile, bytes]:
        """Return a digest of each image of `train`; of none if the set is missing or faulty."""
        try:
            return hash_files(self.list_set("train").images)
        except (OSError, ValueError):  # which concern a training alone
            return {}

    def _note_left_out(self, *listings: Listing) -> None:
        left_out: LeftOut = {}
        for reason, paths in chain(*(listing.left_out.items() for listing in listings)):
            left_out.setdefault(reason, []).extend(paths)
        self.left_out = {reason: sorted(set(paths)) for reason, paths in left_out.items()}
        others = self.left_out.get(NOT_IMAGES)
        if others:
            self.remark(
                {"not_read": f"Not read: {len(others)} {NOT_IMAGES}, the first {others[0]}"}
            )

    def _expect_digests(self) -> None:
        """Tell every process what the files held when the first one looked at them."""
        found = self.inspection.digests if hasattr(self, "inspection") else {}
        digests = self.trainer.strategy.broadcast(found)  # type: ignore[union-attr]
        for image_set in self._test_sets:
            image_set.digests = digests[image_set.name]

    def _loader(self, image_set: ImageSet, **options: Any) -> DataLoader[Sample]:
        """Return the batches of a training or of its validation."""
        slow_network = self.num_workers == AUTO and not self._on_gpu
        workers = 0 if slow_network else self.workers
        return DataLoader(
            image_set,
            batch_size=32 if isinstance(self.batch_size, str) else self.batch_size,
            num_workers=workers,
            pin_memory=self._pins,
            persistent_workers=workers > 0,
            **options,
        )


def _check_count(name: str, value: object, *, at_least: int) -> None:
    if value != AUTO and (type(value) is not int or value < at_least):
        raise ValueError(
            f"`datamodule.{name}` should be {AUTO} or an integer of at least {at_least}, "
            f"got {value!r}"
        )


def _number(names: Iterable[str]) -> dict[str, int]:
    return {name: number for number, name in enumerate(names)}


def _number_cameras(*listings: Listing) -> dict[str, int]:
    names = {image.camera for listing in listings for image in listing.images}
    return _number(sorted(name for name in names if name is not None))
