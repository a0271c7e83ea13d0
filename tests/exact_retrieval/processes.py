"""Run a function in several processes that know each other."""

import multiprocessing
import traceback
import warnings
from collections.abc import Callable
from datetime import timedelta
from multiprocessing.connection import Connection, wait
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist

_SECONDS = 90  # many times what the cases take; a hang fails instead of blocking


def run_in_processes(
    function: Callable[..., Any], size: int, folder: Path, *given: Any
) -> list[Any]:
    """Call `function(rank, size, *given)` in `size` processes and return what each returned."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload([function.__module__])  # imports torch once for all
    pipes, processes = [], []
    for rank in range(size):
        here, there = context.Pipe(duplex=False)
        arguments = (there, function, rank, size, folder / f"store_{size}", given)
        processes.append(context.Process(target=_work, args=arguments))
        pipes.append(here)
        processes[-1].start()
        there.close()
    try:
        return [_receive(pipe, rank) for rank, pipe in enumerate(pipes)]
    finally:
        for process in processes:
            process.kill()
            process.join()


def _receive(pipe: Connection, rank: int) -> Any:
    assert wait([pipe], _SECONDS), f"rank {rank} is silent after {_SECONDS} s"
    result, failure = pipe.recv()
    assert failure is None, f"rank {rank}: {failure}"
    return result


def _work(
    pipe: Connection,
    function: Callable[..., Any],
    rank: int,
    size: int,
    store: Path,
    given: tuple[Any, ...],
) -> None:
    torch.set_num_threads(1)
    warnings.simplefilter("error")
    # torchmetrics cannot know that other ranks had samples.
    warnings.filterwarnings("ignore", message=r".*was called before the ``update`` method")
    try:
        dist.init_process_group(
            "gloo",
            init_method=f"file://{store}",
            rank=rank,
            world_size=size,
            timeout=timedelta(seconds=_SECONDS / 2),
        )
        pipe.send((function(rank, size, *given), None))
        dist.barrier()  # nobody leaves while others still ask
    except BaseException:
        pipe.send((None, traceback.format_exc()))
