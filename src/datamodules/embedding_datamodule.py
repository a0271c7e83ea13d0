"""Embeddings instead of images: those that an evaluation kept, or anybody's."""

import hashlib
from collections.abc import Iterator
from pathlib import Path

import pyarrow as pa
import torch
from pytorch_lightning.utilities import rank_zero_only
from torch.utils.data import DataLoader, IterableDataset

from src.datamodules.components.samples import EmbeddedSample
from src.datamodules.retrieval_datamodule import LEAVE_ONE_OUT, RetrievalDataModule
from src.embeddings.folder import EmbeddingFolder, digest_files, open_folder
from src.embeddings.manifest import Origin
from src.embeddings.stored_set import StoredSet, number


class EmbeddingDataModule(RetrievalDataModule):
    """The sets `reference` and `query` of a folder of embeddings, as `open_folder` finds them.

    Args:
        data_dir: the folder.
        leave_one_out: whether to compare each query with all other queries. A folder with one set
            alone leaves no choice.

    Attributes:
        reference_set, query_set: the sets, after `setup("test")`; with `leave_one_out` the same.
        origin: what the embeddings were made of, after `setup("test")` on rank 0.
        embeddings_sha256: of the SHA-256 of all files, likewise.
    """

    reference_set: StoredSet
    query_set: StoredSet
    origin: Origin
    embeddings_sha256: str

    def __init__(self, data_dir: str | Path, leave_one_out: bool = False) -> None:
        super().__init__()
        self.data_dir = Path(data_dir)
        self.leave_one_out = leave_one_out

    def setup(self, stage: str) -> None:
        """Read who is on each image, and verify the files on rank 0.

        Args:
            stage: "test"; embeddings serve nothing else.

        Raises:
            FileNotFoundError: if there are no embeddings in `data_dir`.
            ValueError: if they are not as `open_folder` expects, or for another stage.
        """
        if stage != "test":
            raise ValueError("`datamodule` should hold images for a training, got embeddings")
        if hasattr(self, "query_set"):
            return
        folder = open_folder(self.data_dir)
        sets = list(folder.sets.values())
        self.leave_one_out |= len(sets) == 1
        self.reference_set, self.query_set = sets[0], sets[-1]
        if self.leave_one_out:
            self.reference_set = self.query_set
            self.notice = LEAVE_ONE_OUT
        self._identify(folder)

    def test_dataloader(self) -> list[DataLoader[EmbeddedSample]]:
        """Return the batches of this process: those of an equal part of the rows of each set."""
        sets = [self.reference_set] if self.leave_one_out else [self.reference_set, self.query_set]
        identities = set[str]().union(*(each.identities for each in sets))
        cameras = set[str]().union(*(each.cameras for each in sets))
        return [
            DataLoader(_Batches(each, identities, cameras, *self.ranks), batch_size=None)
            for each in sets
        ]

    @rank_zero_only
    def _identify(self, folder: EmbeddingFolder) -> None:
        digests = digest_files(folder)
        lines = "".join(f"{digest}  {name}\n" for name, digest in digests.items())
        self.embeddings_sha256 = hashlib.sha256(lines.encode()).hexdigest()
        if folder.manifest is not None:
            self.origin = folder.manifest.origin
            return
        known = hashlib.sha256()
        for each in folder.sets.values():
            each.update(known)
        data_dir = str(self.data_dir.resolve())
        self.origin = Origin(None, None, None, data_dir, known.hexdigest(), None, None)


class _Batches(IterableDataset[EmbeddedSample]):
    """The batches of one set that one process gets."""

    def __init__(
        self, stored: StoredSet, identities: set[str], cameras: set[str], rank: int, processes: int
    ) -> None:
        self._set = stored
        self._identities, self._cameras = sorted(identities), sorted(cameras)
        self._first, self._last = (part * len(stored) // processes for part in (rank, rank + 1))

    def __iter__(self) -> Iterator[EmbeddedSample]:
        pa.default_memory_pool().release_unused()  # Arrow keeps the memory of the names' tables
        for rows, embedding in self._set.blocks(self._first, self._last):
            yield EmbeddedSample(
                embedding,
                number(self._set.identity[rows], self._identities),
                number(self._set.camera[rows], self._cameras),
                torch.tensor(self._set.index[rows]),
            )
