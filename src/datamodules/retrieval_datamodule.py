"""What an evaluation needs of its data, be they images or embeddings."""

import warnings
from collections.abc import Mapping, Sequence, Set
from pathlib import Path
from typing import Protocol

import pandas as pd
from pytorch_lightning import LightningDataModule
from pytorch_lightning.utilities import rank_zero_only

LEAVE_ONE_OUT = "Leave-one-out: each image is compared with all others of the same set."


class RetrievalSet(Protocol):
    """The queries or the references."""

    @property
    def name(self) -> str:
        """Of the set, for people."""

    @property
    def identities(self) -> Set[str]:
        """Names of the identities that occur."""

    def __len__(self) -> int: ...

    def table(self) -> pd.DataFrame:
        """Describe all images, in the order in which `Sample.index` counts.

        Returns:
            Columns path (str, relative to a folder of images, with "/"), identity (str) and camera
            (null where unknown; Int64, or str where a name is no integer).
        """


class RetrievalDataModule(LightningDataModule):
    """Queries and references, each a set of labelled images.

    `test_dataloader` returns batches of references (loader 0) and queries (loader 1); or, if
    `leave_one_out`, of the one set alone.

    Attributes:
        data_dir: the folder of the data.
        notice: what a reader of the result must know about the data.
        leave_one_out: whether `query_set` and `reference_set` are one set, whose images are each
            compared with all others.
        left_out: files in the folders of the sets that take no part, by the reason.
        remarks: why the result may be wrong, in sentences by the name of the fault; on rank 0.
        reference_set, query_set: the sets, after `setup("test")`.
    """

    notice = ""
    leave_one_out = False
    left_out: Mapping[str, Sequence[Path]] = {}

    data_dir: Path
    reference_set: RetrievalSet
    query_set: RetrievalSet

    def __init__(self) -> None:
        super().__init__()
        # A set may have fewer batches than there are devices.
        self.allow_zero_length_dataloader_with_multiple_devices = True
        self.remarks: dict[str, str] = {}

    @property
    def ranks(self) -> tuple[int, int]:
        """The rank of this process, and the number of all."""
        return (self.trainer.global_rank, self.trainer.world_size) if self.trainer else (0, 1)

    @rank_zero_only
    def remark(self, remarks: Mapping[str, str]) -> None:
        """Warn of what makes the result doubtful, and keep it for the report."""
        self.remarks |= remarks
        for sentence in remarks.values():
            warnings.warn(sentence, stacklevel=2)
