"""Time what an evaluation adds to the bare accuracy: `python -m benchmarks.analysis`.

Embeddings of Market-1501's size, 3,368 queries and 13,115 references of 750 identities by 6
cameras, are drawn around one centre per identity; the noise decides how good the network seems. The
images are small files of one colour. Every step is timed once, in the order of an evaluation.
"""

import argparse
import logging
import tempfile
import time
import warnings
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import torch
from PIL import Image
from pytorch_lightning import Trainer
from rich.console import Console
from rich.table import Table
from torch import Tensor

from src.callbacks.query_analysis import QueryAnalysis
from src.datamodules.components.image_listing import ImageFile
from src.models.metric_learning_module import MetricLearningModule
from src.report.analysis import write_analysis
from src.report.environment import describe_environment
from src.report.outcomes import Outcomes, tabulate
from src.report.run_folder import RunResult

QUERIES, REFERENCES, IDENTITIES, CAMERAS, WIDTH = 3368, 13115, 750, 6, 256
NOISE = {"good": 1.8, "poor": 3.0}


def main() -> None:
    """Print one table per network."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--networks", nargs="+", default=list(NOISE), choices=NOISE)
    options = parser.parse_args()
    warnings.filterwarnings("ignore", message="You are trying to `self.log")
    logging.getLogger("pytorch_lightning").setLevel(logging.ERROR)
    with tempfile.TemporaryDirectory() as folder:
        for network in options.networks:
            seconds, metrics = run(NOISE[network], Path(folder))
            title = (
                f"{network} network: acc {metrics['test/acc']:.3f}, mAP {metrics['test/mAP']:.3f}"
            )
            table = Table("step", "seconds", title=title)
            for name, value in seconds.items():
                table.add_row(name, f"{value:.2f}")
            Console().print(table)


def run(noise: float, folder: Path) -> tuple[dict[str, float], dict[str, float]]:
    """Return the seconds of every step, and the measures."""
    module = MetricLearningModule(
        num_classes=2, embedding_size=WIDTH, backbone="shufflenet_v2_x0_5"
    )
    sets = {name: fill(module, name, noise) for name in ("reference", "query")}
    images = {name: save_images(folder, name, *columns) for name, columns in sets.items()}
    seconds: dict[str, float] = {}

    def timed(name: str, action: Callable[[], Any]) -> Any:
        start = time.perf_counter()
        result = action()
        seconds[name] = time.perf_counter() - start
        return result

    for name, metric in module.test_metrics.items(keep_base=True, copy_state=False):
        timed(name, metric.compute)
    bare, drawn = QueryAnalysis(pictures=False), QueryAnalysis()
    timed("intervals and outcomes", lambda: bare.on_test_epoch_end(Trainer(logger=False), module))
    timed("the same for pictures", lambda: drawn.on_test_epoch_end(Trainer(logger=False), module))
    metrics = {name: value.item() for name, value in module.test_metrics.compute().items()}
    metrics["test/queries"] = QUERIES
    result = RunResult(metrics, {}, None, str(folder))
    findings = drawn.findings
    outcomes = timed("tables", lambda: tabulate(findings, **images, data_dir=folder))
    for name, some in (
        ("page and predictions", replace(outcomes, similarities=None)),
        ("page, predictions and pictures", outcomes),
    ):
        timed(name, partial(write, folder, result, some))
    return seconds, metrics


def write(folder: Path, result: RunResult, outcomes: Outcomes) -> None:
    """Write all files of an analysis."""
    environment = describe_environment()
    write_analysis(folder, result, outcomes, configuration="", environment=environment, notice="")


def fill(module: MetricLearningModule, name: str, noise: float) -> tuple[Tensor, Tensor]:
    """Give the metrics of a module one set; return its labels and cameras."""
    generator = torch.Generator().manual_seed(len(name))
    centres = torch.randn(IDENTITIES, WIDTH, generator=torch.Generator().manual_seed(0))
    count = QUERIES if name == "query" else REFERENCES
    labels = torch.randint(IDENTITIES, (count,), generator=generator)
    cameras = torch.randint(1, CAMERAS + 1, (count,), generator=generator)
    embeddings = centres[labels] + noise * torch.randn(count, WIDTH, generator=generator)
    for rows in torch.arange(count).split(256):
        module.test_metrics.update(
            embeddings[rows],
            labels[rows],
            is_query=name == "query",
            indices=rows,
            cameras=cameras[rows],
        )
    return labels, cameras


def save_images(folder: Path, name: str, labels: Tensor, cameras: Tensor) -> list[ImageFile]:
    """Write a file for every sample, coloured by identity."""
    images = []
    (folder / name).mkdir(exist_ok=True)
    for index, (label, camera) in enumerate(zip(labels.tolist(), cameras.tolist(), strict=True)):
        path = folder / name / f"{label:04d}_c{camera}s1_{index:06d}_00.jpg"
        colour = (label * 37 % 256, label * 59 % 256, camera * 40)
        Image.new("RGB", (64, 128), colour).save(path)
        images.append(ImageFile(path, f"{label:04d}", camera))
    return images


if __name__ == "__main__":
    main()
