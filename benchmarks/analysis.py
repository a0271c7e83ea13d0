"""Time all that an evaluation does after embedding: `python -m benchmarks.analysis`.

Embeddings are drawn around one centre per identity; the noise decides how good the network seems.
The default size is that of Market-1501. Every step is timed once, in the order of an evaluation.
"""

import argparse
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple, TypeVar

import pandas as pd
import torch
from PIL import Image
from rich.console import Console
from rich.table import Table
from torch import Tensor
from torch.nn.functional import normalize

from src.exact_retrieval.metrics.embedding_retrieval import EmbeddingRetrieval
from src.exact_retrieval.retrieval.measures import measure_all
from src.exact_retrieval.retrieval.nearest import find_nearest
from src.exact_retrieval.retrieval.ranking import rank_references
from src.exact_retrieval.retrieval.retrieval import retrieve
from src.exact_retrieval.retrieval.verification import verify
from src.report.environment import describe_environment
from src.report.evaluation import Evaluation, Provenance, SetSize, summarise
from src.report.evaluation_folder import write_predictions, write_result
from src.report.page import write_report
from src.report.pictures.all_pictures import draw_pictures

CAMERAS, K = 6, 5
NOISE = {"good": 1.8, "poor": 3.0}
IMAGES_AT_MOST = 20_000
ARGSORT_ROWS = 256

T = TypeVar("T")


class Samples(NamedTuple):
    """Embeddings [N, D], labels [N] and cameras [N] of a set, and the names of its images."""

    embeddings: Tensor
    labels: Tensor
    cameras: Tensor
    table: pd.DataFrame


class Stopwatch:
    """Seconds of each step, by its name."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}

    def time(self, name: str, action: Callable[[], T]) -> T:
        """Return what the action does, and add how long it takes."""
        start = time.perf_counter()
        result = action()
        self.seconds[name] = time.perf_counter() - start
        return result


def main() -> None:
    """Print one table per network."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--networks", nargs="+", default=list(NOISE), choices=NOISE)
    parser.add_argument("--queries", type=int, default=3368)
    parser.add_argument("--references", type=int, default=13115)
    parser.add_argument("--width", type=int, default=256)
    parser.add_argument("--identities", type=int, default=750)
    parser.add_argument(
        "--images",
        action=argparse.BooleanOptionalAction,
        help="whether pictures show image files, small ones of one colour;\n"
        f"by default for at most {IMAGES_AT_MOST:,} images",
    )
    parser.add_argument(
        "--argsort",
        action="store_true",
        help="also time a plain argsort of all float32 similarities in torch",
    )
    options = parser.parse_args()
    for network in options.networks:
        with tempfile.TemporaryDirectory() as folder:
            stopwatch, evaluation = run(options, NOISE[network], Path(folder))
        metrics = evaluation.metrics()
        title = f"{network} network: acc {metrics['test/acc']:.3f}, mAP {metrics['test/mAP']:.3f}"
        table = Table("step", "seconds", title=title)
        for name, value in stopwatch.seconds.items():
            table.add_row(name, f"{value:.2f}")
        Console().print(table)


def run(options: argparse.Namespace, noise: float, folder: Path) -> tuple[Stopwatch, Evaluation]:
    """Evaluate made-up embeddings, step by step, and write all files into a folder."""
    query = draw(options, "query", options.queries, noise)
    reference = draw(options, "reference", options.references, noise)
    images = options.queries + options.references <= IMAGES_AT_MOST
    if images if options.images is None else options.images:
        save_images(folder, query)
        save_images(folder, reference)
    metric = EmbeddingRetrieval(k=K)
    for samples in (reference, query):
        metric.update(
            samples.embeddings,
            samples.labels,
            is_query=samples is query,
            indices=torch.arange(len(samples.labels)),
            cameras=samples.cameras,
        )
    stopwatch = Stopwatch()
    sets = stopwatch.time("sets", metric.spread_sets)
    stopwatch.time("euclidean", lambda: find_nearest(sets, distance="euclidean"))
    ranking = stopwatch.time(
        "neighbours, ranks and histogram",
        lambda: rank_references(sets, k=K, distance="cosine", leave_one_out=False),
    )
    stopwatch.time("thresholds", lambda: verify(sets, ranking, distance="cosine"))
    retrieval = retrieve(sets, k=K)  # the same again, to go on from
    stopwatch.time("measures", lambda: measure_all(retrieval))
    provenance = describe(options, folder)
    measured = stopwatch.time(
        "measures and tables",
        lambda: summarise(retrieval, provenance, query=query.table, reference=reference.table),
    )
    evaluation = stopwatch.time(
        "intervals",
        lambda: measured.with_intervals(confidence=0.95),
    )
    stopwatch.time("result and predictions", lambda: write_files(evaluation, folder))
    stopwatch.time(
        "page",
        lambda: write_report(
            evaluation,
            folder,
            pictures=False,
            configuration="",
            environment=describe_environment(),
        ),
    )
    stopwatch.time("pictures", lambda: draw_pictures(evaluation, folder / "pictures"))
    once = {name: s for name, s in stopwatch.seconds.items() if name != "measures"}
    stopwatch.seconds["total"] = sum(once.values())
    if options.argsort:
        stopwatch.time("plain argsort", lambda: sort_all(query.embeddings, reference.embeddings))
    return stopwatch, evaluation


def draw(options: argparse.Namespace, name: str, count: int, noise: float) -> Samples:
    """Draw a set of embeddings, of the same identities for all sets."""
    centres = torch.randn(
        options.identities, options.width, generator=torch.Generator().manual_seed(0)
    )
    generator = torch.Generator().manual_seed(len(name))
    labels = torch.randint(options.identities, (count,), generator=generator)
    cameras = torch.randint(1, CAMERAS + 1, (count,), generator=generator)
    embeddings = centres[labels] + noise * torch.randn(count, options.width, generator=generator)
    identities = [f"{label:04d}" for label in labels.tolist()]
    table = pd.DataFrame(
        {
            "path": [
                f"{name}/{identity}_c{camera}s1_{index:06d}_00.jpg"
                for index, (identity, camera) in enumerate(
                    zip(identities, cameras.tolist(), strict=True)
                )
            ],
            "identity": identities,
            "camera": pd.array(cameras.numpy(), "Int64"),
        }
    )
    return Samples(embeddings, labels, cameras, table)


def save_images(folder: Path, samples: Samples) -> None:
    """Write a file for every sample, coloured by identity."""
    for path, label in zip(samples.table["path"], samples.labels.tolist(), strict=True):
        (folder / path).parent.mkdir(exist_ok=True)
        colour = (label * 37 % 256, label * 59 % 256, label * 83 % 256)
        Image.new("RGB", (64, 128), colour).save(folder / path)


def describe(options: argparse.Namespace, folder: Path) -> Provenance:
    """Make up a provenance."""
    return Provenance(
        checkpoint=None,
        checkpoint_sha256=None,
        epoch=None,
        data_dir=str(folder),
        dataset_digest="",
        reference=SetSize(options.identities, options.references),
        query=SetSize(options.identities, options.queries),
        git_commit="",
        tags=(),
        notice="",
    )


def write_files(evaluation: Evaluation, folder: Path) -> None:
    """Write `result.json` and `predictions.parquet`."""
    write_result(evaluation, folder)
    write_predictions(evaluation, folder)


def sort_all(query: Tensor, reference: Tensor) -> None:
    """Rank all references for each query as most code does, some queries at a time."""
    reference = normalize(reference).T
    for rows in normalize(query).split(ARGSORT_ROWS):
        (rows @ reference).argsort(dim=1, descending=True)


if __name__ == "__main__":
    main()
