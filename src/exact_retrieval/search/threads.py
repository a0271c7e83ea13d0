"""Work on a CPU in parts, each on one thread.

Within an operation, PyTorch's threads wait for each other at its end, and some operations, such as
`torch.bincount`, have one thread only. Parts that share nothing keep all threads busy.
"""

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

import torch

_Part = TypeVar("_Part")
_Result = TypeVar("_Result")


def map_in_threads(
    function: Callable[[_Part], _Result], parts: Sequence[_Part], device: torch.device
) -> Iterator[_Result]:
    """Call a function for each part, without gradients, and yield the results in that order.

    Until the last is taken, PyTorch has one thread for each operation.

    Args:
        function: which may run on several threads at once.
        parts: its arguments.
        device: that it works on; on any but a CPU, one part follows another.
    """
    threads = torch.get_num_threads()
    if device.type != "cpu" or min(threads, len(parts)) <= 1:
        yield from map(function, parts)
        return
    torch.set_num_threads(1)
    try:
        with ThreadPoolExecutor(threads, initializer=_start_thread) as pool:
            yield from pool.map(function, parts)
    finally:
        torch.set_num_threads(threads)


def _start_thread() -> None:
    torch.set_num_threads(1)
    torch.set_grad_enabled(False)
