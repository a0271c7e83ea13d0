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


def threads_on(device: torch.device) -> int:
    """Count the threads that work on a device is spread over; on any but a CPU, it is not."""
    return torch.get_num_threads() if device.type == "cpu" else 1


def map_in_threads(
    function: Callable[[_Part], _Result], parts: Sequence[_Part], device: torch.device
) -> Iterator[_Result]:
    """Call a function for each part, and yield the results in that order.

    While there are several threads, and until the last result is taken, PyTorch has one thread for
    each operation. Gradients and inference mode are as in the calling thread.

    Args:
        function: which may run on several threads at once.
        parts: its arguments.
        device: that it works on; on any but a CPU, one part follows another.
    """
    threads = threads_on(device)
    if min(threads, len(parts)) <= 1:
        yield from map(function, parts)
        return
    has_gradients, is_inference = torch.is_grad_enabled(), torch.is_inference_mode_enabled()

    def call(part: _Part) -> _Result:
        with torch.inference_mode(is_inference), torch.set_grad_enabled(has_gradients):
            return function(part)

    torch.set_num_threads(1)
    try:
        with ThreadPoolExecutor(threads, initializer=torch.set_num_threads, initargs=(1,)) as pool:
            yield from pool.map(call, parts)
    finally:
        torch.set_num_threads(threads)
