"""The collective operations that a search over several processes needs."""

from collections.abc import Callable
from typing import Any, TypeVar

import torch
import torch.distributed as dist
from jaxtyping import Shaped
from torch import Tensor

T = TypeVar("T")


class Processes:
    """The processes of a group that each hold some of the samples, or this process alone.

    Every method is a collective operation: all processes call it, in the same order.

    Args:
        device: the device of the tensors that are exchanged.
        group: a process group, or None for all processes.
        distributed: False for this process alone.

    Attributes:
        size: the number of processes.
        rank: the number of this process among them.

    Raises:
        ValueError: if this process is not in the group.
    """

    def __init__(
        self,
        device: torch.device,
        group: Any | None = None,  # torch stands an int for a group without this process
        *,
        distributed: bool = False,
    ) -> None:
        self._device = device
        self._group = group
        self.size = dist.get_world_size(group) if distributed else 1
        self.rank = dist.get_rank(group) if distributed else 0
        if self.rank < 0:
            raise ValueError("`process_group` should contain the process that uses it")

    def __deepcopy__(self, memo: dict[int, Any]) -> "Processes":
        return self  # a process group cannot be copied

    def stack(self, row: Shaped[Tensor, "..."]) -> Shaped[Tensor, "{self.size} ..."]:
        """Return the tensors of all processes, of one shape, in order of rank."""
        if self.size == 1:
            return row.unsqueeze(0)
        rows = row.new_empty((self.size, *row.shape))
        dist.all_gather(list(rows.unbind()), row.contiguous(), group=self._group)
        return rows

    def ragged(self, rows: Shaped[Tensor, "_ ..."]) -> list[Shaped[Tensor, "_ ..."]]:
        """Return the rows of each process, in order of rank; their numbers may differ."""
        if self.size == 1:
            return [rows]
        lengths = self.stack(torch.tensor(len(rows), device=self._device)).tolist()
        padded = rows.new_zeros((max(lengths), *rows.shape[1:]))
        padded[: len(rows)] = rows
        return [part[:n] for part, n in zip(self.stack(padded), lengths, strict=True)]

    def broadcast(self, rows: Shaped[Tensor, "_ ..."], source: int) -> None:
        """Overwrite contiguous rows with those of rank `source`."""
        if self.size > 1:
            # As bytes, because not every backend sends every floating type.
            dist.broadcast(rows.view(torch.uint8), group=self._group, group_src=source)

    def exchange(
        self, rows: Shaped[Tensor, "_ ..."], sent: list[int], received: list[int]
    ) -> Shaped[Tensor, "_ ..."]:
        """Send each process its part of the rows.

        Args:
            rows: the parts one after another, in order of rank.
            sent: how many rows go to each process.
            received: how many rows come from each process.

        Returns:
            The rows received, in order of rank.
        """
        if self.size == 1:
            return rows
        arrived = rows.new_empty((sum(received), *rows.shape[1:]))
        dist.all_to_all_single(arrived, rows.contiguous(), received, sent, group=self._group)
        return arrived

    def total(self, numbers: Shaped[Tensor, "..."]) -> Shaped[Tensor, "..."]:
        """Return the elementwise sum over all processes; overwrites `numbers`."""
        if self.size > 1:
            dist.all_reduce(numbers, group=self._group)
        return numbers

    def attempt(self, action: Callable[[], T]) -> T:
        """Run something that may fail on one process, and let all fail together.

        Returns:
            What the action returned.

        Raises:
            ValueError: on every process, if the action raised one on any; that of the lowest rank.
        """
        failure: ValueError | None = None
        try:
            result = action()
        except ValueError as error:
            failure = error
        text = str(failure).encode() if failure else b""
        message = torch.tensor(list(text), dtype=torch.uint8, device=self._device)
        for rank, failed in enumerate(self.ragged(message)):
            if rank == self.rank and failure is not None:
                raise failure
            if len(failed):
                raise ValueError(bytes(failed.tolist()).decode())
        return result
