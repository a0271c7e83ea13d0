"""Market-1501 for training and for nearest-neighbour evaluation."""

import warnings
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from pytorch_lightning.utilities import rank_zero_only
from torch.utils.data import DataLoader
from torchvision import transforms

from src.datamodules.components.augmentation import AugmentedImageSet, EpochSampler
from src.datamodules.components.image_listing import list_images
from src.datamodules.components.image_set import ImageSet
from src.datamodules.components.inspection import Inspection, inspect_images
from src.datamodules.components.samples import Sample
from src.datamodules.components.share import Share
from src.datamodules.retrieval_datamodule import RetrievalDataModule

IMAGE_SIZE = (128, 64)
"""Height and width in pixels of the images that the network sees."""

_EVALUATION_TRANSFORM = transforms.Compose([transforms.Resize(IMAGE_SIZE), transforms.ToTensor()])
_TRAINING_TRANSFORM = transforms.Compose(
    [
        transforms.Resize(IMAGE_SIZE),
        transforms.Pad(15),
        transforms.RandomCrop(IMAGE_SIZE),
        transforms.RandomHorizontalFlip(),
        transforms.ToTensor(),
    ]
)


class MarketDataModule(RetrievalDataModule):
    """The sets `train`, `val`, `reference` and `query` of Market-1501, in either of its layouts.

    `list_images` describes the layouts. One mapping from identity names to integers serves
    `reference` and `query`, which may hold different identities. A label of `train` is the position
    of its identity among the sorted identities of `train`; `val` uses the same integers, and
    further ones for identities that `train` lacks.

    Args:
        data_dir: folder that holds the sets.
        batch_size: images in a batch.
        num_workers: processes that read images beside the main one.
        pin_memory: whether batches are put into page-locked memory, for faster copies to a GPU.
        seed: of the order and the augmentation of the training images.
        distractors: whether `reference` keeps Market's distractors, identity 0000.

    Attributes:
        train_set, val_set: datasets, after `setup("fit")`.
        reference_set, query_set: datasets, after `setup("test")`.
        inspection: digest and image sizes of the test sets, after `setup("test")` on rank 0.
    """

    train_set: ImageSet
    val_set: ImageSet
    reference_set: ImageSet
    query_set: ImageSet
    inspection: Inspection

    def __init__(
        self,
        data_dir: str | Path = "data",
        batch_size: int = 32,
        num_workers: int = 0,
        pin_memory: bool = False,
        seed: int = 0,
        distractors: bool = False,
    ) -> None:
        super().__init__()
        self.data_dir = Path(data_dir)
        self.batch_size = batch_size
        self.num_workers = num_workers
        self.pin_memory = pin_memory
        self.seed = seed
        self.distractors = distractors

    @property
    def num_classes(self) -> int:
        """Number of identities in `train`."""
        return len(self.train_set.identities)

    @property
    def preprocessing(self) -> str:
        """What is done to an image before the network sees it."""
        return " ".join(repr(_EVALUATION_TRANSFORM).split())

    @property
    def val_has_unseen_identities(self) -> bool:
        """Whether `val` holds identities that `train` lacks."""
        return not self.val_set.identities <= self.train_set.identities

    def setup(self, stage: str) -> None:
        """List the images that a stage needs, once, however often it is called.

        Args:
            stage: "fit", "validate" or "test".

        Raises:
            FileNotFoundError: if there is no data in `data_dir`.
            ValueError: if the data is not as `list_images` expects, or a file is unreadable.
        """
        if stage in ("fit", "validate") and not hasattr(self, "train_set"):
            self._setup_fit()
        if stage == "test" and not hasattr(self, "query_set"):
            self._setup_test()

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

    def test_dataloader(self) -> list[DataLoader[Sample]]:
        """Return the batches of `reference` and of `query`, in this order."""
        sets = (self.reference_set, self.query_set)
        return [self._loader(each, sampler=Share(each, *self.ranks)) for each in sets]

    def _setup_fit(self) -> None:
        train, val = list_images(self.data_dir, "train"), list_images(self.data_dir, "val")
        classes = sorted({image.identity for image in train})
        unseen = sorted({image.identity for image in val}.difference(classes))
        labels = _number([*classes, *unseen])
        self.train_set = AugmentedImageSet(
            "train", self.data_dir, train, labels, _TRAINING_TRANSFORM, self.seed
        )
        self.val_set = ImageSet("val", self.data_dir, val, labels, _EVALUATION_TRANSFORM)

    def _setup_test(self) -> None:
        reference = list_images(self.data_dir, "reference", distractors=self.distractors)
        query = list_images(self.data_dir, "query")
        labels = _number(sorted({image.identity for image in [*reference, *query]}))
        reference_set = ImageSet(
            "reference", self.data_dir, reference, labels, _EVALUATION_TRANSFORM
        )
        query_set = ImageSet("query", self.data_dir, query, labels, _EVALUATION_TRANSFORM)
        self._inspect([reference_set, query_set])
        self.reference_set, self.query_set = reference_set, query_set

    @rank_zero_only
    def _inspect(self, sets: list[ImageSet]) -> None:
        self.inspection = inspect_images(sets)
        _warn_of_resizing(self.inspection)

    def _loader(self, image_set: ImageSet, **options: Any) -> DataLoader[Sample]:
        return DataLoader(
            image_set,
            batch_size=self.batch_size,
            num_workers=self.num_workers,
            pin_memory=self.pin_memory,
            persistent_workers=self.num_workers > 0,
            **options,
        )


def _number(names: Iterable[str]) -> dict[str, int]:
    return {name: number for number, name in enumerate(names)}


def _warn_of_resizing(inspection: Inspection) -> None:
    height, width = IMAGE_SIZE
    total = sum(inspection.image_sizes.values())
    resized = total - inspection.image_sizes.get((width, height), 0)
    if resized:
        warnings.warn(
            f"{resized} of {total} images are not {height} x {width} pixels (height x width) and "
            "are resized.",
            stacklevel=2,
        )
