"""Measure the metric over several processes: `python -m benchmarks.distributed`.

1, 2 and 4 processes of one thread each hold the same references and queries in equal shares. Times
are those of the slowest process in compute(), the best of several rounds in which all take turns;
"CPU" is the processor time of the busiest process, which other load on the machine hardly changes.
The peak is what a process holds, embeddings included, beyond what it held before the first of them;
it has a round of its own, in which freed memory leaves the process at once, as that takes time.
Bytes sent are counted by the loopback device, over all processes (Linux).

"gather everything" is what a plain torchmetrics metric does: every process receives all embeddings
and searches all of them, here by a float32 product in chunks.
"""

import argparse
import math
import multiprocessing
import os
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import torch
import torch.distributed as dist
from rich.console import Console
from rich.table import Table
from torch import Tensor
from torch.nn.functional import normalize
from torchmetrics import Metric
from torchmetrics.utilities import dim_zero_cat

from benchmarks.memory import reset_peak, resident_bytes
from src.exact_retrieval import NearestNeighborAccuracy

_MIB = 2**20
_BATCH = 500


class GatherEverything(Metric):
    """1-NN accuracy by cosine as torchmetrics' documentation would have it written."""

    full_state_update = False

    reference: list[Tensor]
    reference_labels: list[Tensor]
    query: list[Tensor]
    query_labels: list[Tensor]

    def __init__(self) -> None:
        super().__init__()
        for name in ("reference", "query"):
            self.add_state(name, [], dist_reduce_fx="cat")
            self.add_state(f"{name}_labels", [], dist_reduce_fx="cat")

    def update(self, embeddings: Tensor, labels: Tensor, is_query: bool, indices: Tensor) -> None:
        """Add a batch; the indices serve nothing here."""
        name = "query" if is_query else "reference"
        getattr(self, name).append(embeddings)
        getattr(self, f"{name}_labels").append(labels)

    def compute(self) -> Tensor:
        """The share of queries whose nearest reference has their label."""
        reference = normalize(dim_zero_cat(self.reference))
        labels = dim_zero_cat(self.reference_labels)
        queries = normalize(dim_zero_cat(self.query)).split(64)
        nearest = torch.cat([(query @ reference.T).argmax(dim=1) for query in queries])
        return (labels[nearest] == dim_zero_cat(self.query_labels)).float().mean()


METRICS = {"sharded": NearestNeighborAccuracy, "gather everything": GatherEverything}


class Measurement(NamedTuple):
    """Seconds of compute(), seconds of CPU in it, peak and sent MiB, the accuracy."""

    seconds: float
    cpu: float
    peak: float
    sent: float
    accuracy: float


def main() -> None:
    """Print one table with every metric and number of processes."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--references", type=int, default=200_000)
    parser.add_argument("--queries", type=int, default=2_000)
    parser.add_argument("--width", type=int, default=256)
    parser.add_argument("--processes", type=int, nargs="+", default=[1, 2, 4])
    parser.add_argument("--rounds", type=int, default=3, help="of starting all processes anew")
    parser.add_argument("--repetitions", type=int, default=8, help="of a sharded compute()")
    options = parser.parse_args()
    found: dict[tuple[str, int], list[Measurement]] = {}
    for timed in (False, *[True] * options.rounds):
        for name in METRICS:
            for size in options.processes:
                found.setdefault((name, size), []).append(measure(name, size, timed, options))
    best = {key: Measurement(*map(min, zip(*rounds, strict=True))) for key, rounds in found.items()}
    print_table(best, options)


def measure(name: str, size: int, timed: bool, options: argparse.Namespace) -> Measurement:
    """Start processes, and take the slowest and largest of them.

    What is not measured, the time or the peak, is infinite.
    """
    if timed:
        os.environ.pop("MALLOC_MMAP_THRESHOLD_", None)
    else:
        os.environ["MALLOC_MMAP_THRESHOLD_"] = "65536"  # glibc: larger ones are mapped one by one
    os.environ.setdefault("GLOO_SOCKET_IFNAME", "lo")
    context = multiprocessing.get_context("spawn")
    with tempfile.TemporaryDirectory() as folder, context.Pool(size) as pool:
        store = f"file://{Path(folder) / 'store'}"
        calls = [(name, rank, size, store, timed, options) for rank in range(size)]
        results = pool.starmap(work, calls, chunksize=1)
    assert len({result.accuracy for result in results}) == 1
    return Measurement(*map(max, zip(*results, strict=True)))


def work(
    name: str, rank: int, size: int, store: str, timed: bool, options: argparse.Namespace
) -> Measurement:
    """Fill a metric with the share of one process, and compute it."""
    torch.set_num_threads(1)
    dist.init_process_group("gloo", init_method=store, rank=rank, world_size=size)
    metric: Metric = METRICS[name]()
    for is_query in (False, True):  # loads libraries and kernels
        for batch in share(8 * _BATCH, rank, size, options.width):
            metric.update(*batch[:2], is_query, batch[2])
    metric.compute()
    metric.reset()
    base = resident_bytes("VmRSS")
    reset_peak()
    for is_query, count in ((False, options.references), (True, options.queries)):
        for embeddings, labels, indices in share(count, rank, size, options.width):
            metric.update(embeddings, labels, is_query, indices)
    dist.barrier()
    sent = loopback_bytes()
    accuracy = metric.compute().item()
    dist.barrier()
    sent = loopback_bytes() - sent
    peak, seconds, cpu = (resident_bytes("VmHWM") - base) / _MIB, math.inf, math.inf
    if timed:
        repetitions = options.repetitions if METRICS[name] is NearestNeighborAccuracy else 1
        times = [time_of_compute(metric) for _ in range(repetitions)]
        peak, (seconds, cpu) = math.inf, map(min, zip(*times, strict=True))
    dist.destroy_process_group()
    return Measurement(seconds, cpu, peak, sent / _MIB, accuracy)


def time_of_compute(metric: Metric) -> tuple[float, float]:
    """Seconds of the slowest process, and seconds of CPU of the busiest."""
    metric._computed = None
    dist.barrier()
    start, cpu_start = time.perf_counter(), time.process_time()
    metric.compute()
    times = torch.tensor([time.perf_counter() - start, time.process_time() - cpu_start])
    dist.all_reduce(times, dist.ReduceOp.MAX)
    seconds, cpu = times.tolist()
    return seconds, cpu


def share(count: int, rank: int, size: int, width: int) -> Iterator[tuple[Tensor, Tensor, Tensor]]:
    """Draw every `size`-th batch around one centre per person; the same batches for any `size`."""
    people = 1_000
    centres = torch.randn(people, width, generator=torch.Generator().manual_seed(0))
    for start in range(rank * _BATCH, count, size * _BATCH):
        generator = torch.Generator().manual_seed(count + start)
        indices = torch.arange(start, min(start + _BATCH, count))
        labels = indices % people
        noise = torch.randn(len(indices), width, generator=generator)
        yield noise.mul_(2).add_(centres[labels]), labels, indices


def loopback_bytes() -> int:
    """Bytes that went through the loopback device so far."""
    lines = Path("/proc/net/dev").read_text().splitlines()
    return int(next(line for line in lines if line.strip().startswith("lo:")).split()[9])


def print_table(best: dict[tuple[str, int], Measurement], options: argparse.Namespace) -> None:
    """Print times and peaks, and their ratios to those of the fewest processes."""
    table = Table(
        title=f"{options.references:,} references x {options.queries:,} queries x "
        f"{options.width}, float32, one thread per process"
    )
    headings = [
        "metric",
        "processes",
        "seconds",
        "speed",
        "CPU s",
        "peak MiB",
        "peak",
        "MiB sent",
        "acc",
    ]
    for heading in headings:
        table.add_column(heading, justify="left" if heading == "metric" else "right")
    for (name, size), cell in best.items():
        first = best[name, options.processes[0]]
        row: list[Any] = [name, size, f"{cell.seconds:.2f}", f"{first.seconds / cell.seconds:.2f}x"]
        row += [
            f"{cell.cpu:.2f}",
            f"{cell.peak:.0f}",
            f"{cell.peak / first.peak:.2f}x",
            f"{cell.sent:.1f}",
        ]
        table.add_row(*map(str, row), f"{cell.accuracy:.5f}")
    Console(width=100).print(table)


if __name__ == "__main__":
    main()
