"""Peak memory and time of NearestNeighborAccuracy: python -m benchmarks.metric_memory --help."""

import argparse
import time

import torch
from rich.console import Console
from rich.progress import track

from benchmarks.memory import resident_bytes
from src.exact_retrieval import NearestNeighborAccuracy

_MIB = 2**20


def main() -> None:
    """Fill a metric batch by batch, compute it, and compare the peak with the embeddings' size."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--references", type=int, default=200_000)
    parser.add_argument("--queries", type=int, default=2_000)
    parser.add_argument("--width", type=int, default=256)
    parser.add_argument("--batch-size", type=int, default=1_000)
    parser.add_argument("--distance", choices=["cosine", "euclidean"], default="cosine")
    arguments = parser.parse_args()
    metric = NearestNeighborAccuracy(distance=arguments.distance)
    _fill_and_compute(metric, 2_000, 200, arguments)  # loads libraries and thread pools
    metric.reset()
    base = resident_bytes("VmHWM")
    seconds = _fill_and_compute(metric, arguments.references, arguments.queries, arguments)
    embeddings = (arguments.references + arguments.queries) * arguments.width * 4
    beyond = resident_bytes("VmHWM") - base - embeddings
    Console().print(
        f"{arguments.references:,} references x {arguments.queries:,} queries x {arguments.width}: "
        f"compute {seconds:.1f} s, embeddings {embeddings / _MIB:.0f} MiB, "
        f"peak beyond them {beyond / _MIB:.0f} MiB"
    )


def _fill_and_compute(
    metric: NearestNeighborAccuracy, references: int, queries: int, arguments: argparse.Namespace
) -> float:
    for is_query, total in ((False, references), (True, queries)):
        starts = range(0, total, arguments.batch_size)
        for start in track(starts, f"{total:,} {'queries' if is_query else 'references'}"):
            indices = torch.arange(start, min(start + arguments.batch_size, total))
            embeddings = torch.randn(len(indices), arguments.width)
            metric.update(embeddings, indices % 100, is_query, indices)
    start_time = time.perf_counter()
    metric.compute()
    return time.perf_counter() - start_time


if __name__ == "__main__":
    main()
