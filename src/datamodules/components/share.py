"""Divide a set among processes."""

from collections.abc import Iterator
from typing import Any

from torch.utils.data import Dataset, DistributedSampler


class Share(DistributedSampler[int]):
    """The images of one process: every image of the set is in one share, and none is repeated.

    Args:
        dataset: the set.
        rank: of the process.
        processes: number of shares.
    """

    def __init__(self, dataset: Dataset[Any], rank: int, processes: int) -> None:
        super().__init__(dataset, num_replicas=processes, rank=rank, shuffle=False)

    def __iter__(self) -> Iterator[int]:
        return iter(self._positions)

    def __len__(self) -> int:
        return len(self._positions)

    @property
    def _positions(self) -> range:
        return range(self.rank, len(self.dataset), self.num_replicas)  # type: ignore[arg-type]
