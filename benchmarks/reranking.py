"""Time and peak memory of k-reciprocal re-ranking: python -m benchmarks.reranking --help.

The sizes are those of Market-1501 unless others are given. Those of MSMT17:
--queries 11659 --references 82161 --identities 3060
"""

import argparse
import time

import torch
from rich.console import Console

from benchmarks.memory import resident_bytes
from src.exact_retrieval import EmbeddingRetrieval, KReciprocal
from src.exact_retrieval.retrieval.reranking import rerank

_MB = 10**6


def main() -> None:
    """Re-rank random clustered embeddings, and print how long it takes and the peak of memory."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--queries", type=int, default=3_368)
    parser.add_argument("--references", type=int, default=13_115)
    parser.add_argument("--identities", type=int, default=750)
    parser.add_argument("--width", type=int, default=256)
    parser.add_argument(
        "--noise", type=float, default=2.0, help="of an image, against the distance of identities"
    )
    arguments = parser.parse_args()
    _rerank(100, 400, 20, arguments)  # loads libraries and thread pools
    base = resident_bytes("VmHWM")
    sizes = arguments.queries, arguments.references, arguments.identities
    seconds, cpu_seconds, precision = _rerank(*sizes, arguments)
    peak = resident_bytes("VmHWM")
    Console().print(
        f"{arguments.queries:,} queries x {arguments.references:,} references x {arguments.width}, "
        f"{torch.get_num_threads()} threads: {seconds:.1f} s ({cpu_seconds:.1f} s of CPU time), "
        f"peak {peak / _MB:,.0f} MB, {(peak - base) / _MB:,.0f} MB of it for the "
        f"embeddings and the re-ranking; mAP over all references {precision:.3f}"
    )


def _rerank(
    queries: int, references: int, identities: int, arguments: argparse.Namespace
) -> tuple[float, float, float]:
    """Return seconds, seconds of CPU time, and the mean average precision after re-ranking."""
    generator = torch.Generator().manual_seed(0)
    centres = torch.randn(identities, arguments.width, generator=generator)
    metric = EmbeddingRetrieval()
    for is_query, number in ((False, references), (True, queries)):
        labels = torch.randint(identities, (number,), generator=generator)
        embeddings = torch.randn(number, arguments.width, generator=generator)
        embeddings.mul_(arguments.noise).add_(centres[labels])
        metric.update(embeddings, labels, is_query)
    sets = metric.spread_sets()
    start, cpu_start = time.perf_counter(), time.process_time()
    matches = rerank(sets, KReciprocal())
    seconds, cpu_seconds = time.perf_counter() - start, time.process_time() - cpu_start
    return seconds, cpu_seconds, float(matches.average_precision.nanmean())


if __name__ == "__main__":
    main()
