"""Measure an evaluation from command to number: `python -m benchmarks.throughput`.

The data are the bundled sample's test images, enlarged to the size of Market-1501: each one is used
several times, shifted by other numbers of pixels, as another person's. The network is ResNet-18
with random weights, whose batch norms have seen some of the images; or that of --checkpoint.

`eval.py` and an evaluation in plain torch (`benchmarks.plain_evaluation`) run as commands, in
turns. Reading and the network are measured alone, in this process. All times are the best of
several rounds.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Mapping
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from omegaconf import OmegaConf
from PIL import Image
from pytorch_lightning import Callback, Trainer
from rich.console import Console
from rich.progress import track
from rich.table import Table
from torch import Tensor
from torchvision.transforms.functional import to_tensor

from benchmarks.memory import resident_bytes
from src.datamodules.components.batches import Batches
from src.datamodules.components.image_set import ImageSet
from src.datamodules.market_datamodule import MarketDataModule
from src.datamodules.sample_datamodule import SampleDataModule
from src.models.metric_learning_module import MetricLearningModule
from src.models.network_form import prepare_network, relative_deviation
from src.utils.checkpoint import load_model, read_checkpoint

_MODEL = OmegaConf.create({"_target_": "src.models.metric_learning_module.MetricLearningModule"})
_FORMS = {"float32": "32-true", "bfloat16": "bf16-true", "bfloat16, mixed": "bf16-mixed"}
_MARKET_IMAGES = 16_483
_READ_AT_MOST = 3_000
_POLL_SECONDS = 0.02
_NETWORK_ROUNDS = 4  # for each of the commands: a round is short, and so its time is uncertain


class Clock(Callback):
    """Writes when the first and the last batch were embedded, and when the search was done."""

    def __init__(self, file: str) -> None:
        self._file = Path(file)
        self._times: dict[str, float] = {}

    def on_test_batch_end(self, *_: Any, **__: Any) -> None:
        """Note the first time once, and the last one over and over."""
        self._times["last"] = time.time()
        self._times.setdefault("first", self._times["last"])

    def on_test_end(self, *_: Any) -> None:
        """Write, after the search."""
        self._file.write_text(json.dumps(self._times | {"found": time.time()}))


class Run(NamedTuple):
    """What a command took.

    Attributes:
        first: seconds to the first batch that was embedded.
        embedding: seconds from there to the last one.
        search: seconds from there to its end.
        rest: seconds from there to the end of the command.
        memory: the most MiB that were resident.
        cpu: seconds of processor time, which other load on the machine hardly changes.
    """

    first: float
    embedding: float
    search: float
    rest: float
    memory: float
    cpu: float

    @property
    def seconds(self) -> float:
        """Of the whole command."""
        return self.first + self.embedding + self.search + self.rest


def main() -> None:
    """Measure everything, and print one table."""
    options = parse_arguments()
    if options.device == "cuda" and not torch.cuda.is_available():
        print("skipped: no CUDA device")
        return
    with tempfile.TemporaryDirectory() as folder:
        data = enlarge_sample(Path(folder, "data"), options.images)
        datamodule = MarketDataModule(data)
        datamodule.setup("test")
        checkpoint = options.checkpoint or save_checkpoint(Path(folder, "network.ckpt"), datamodule)
        runs = measure_commands(str(checkpoint), data, options)
        reading = measure_reading(datamodule.reference_set, datamodule.workers, options.rounds)
        network = measure_network(str(checkpoint), datamodule.reference_set, options)
    print_table(runs, reading, network, options)


def parse_arguments() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--images", type=int, default=_MARKET_IMAGES)
    parser.add_argument("--checkpoint", type=Path)
    parser.add_argument("--device", choices=["cpu", "cuda"], default="cpu")
    parser.add_argument("--rounds", type=int, default=2)
    return parser.parse_args()


def enlarge_sample(folder: Path, images: int) -> Path:
    """Write the sample's test images until there are so many, a fifth of them queries."""
    sample = SampleDataModule()
    sample.setup("test")
    queries = images * 3_368 // _MARKET_IMAGES
    counts = {"query": queries, "reference": images - queries}
    for image_set in (sample.query_set, sample.reference_set):
        wanted = counts[image_set.name]
        for number in track(range(wanted), f"writing {image_set.name}"):
            copy, index = divmod(number, len(image_set))
            source = image_set.images[index]
            identity = f"{int(source.identity) + 200 * copy:05d}"
            target = folder / image_set.name / identity / f"{identity}{source.path.name[4:]}"
            target.parent.mkdir(parents=True, exist_ok=True)
            pixels = np.asarray(Image.open(source.path))
            shifted = np.roll(pixels, (copy % 7 * 3, copy // 7 * 5), axis=(0, 1))
            Image.fromarray(shifted).save(target, quality=90)
    return folder


def save_checkpoint(file: Path, datamodule: MarketDataModule) -> Path:
    """Save ResNet-18 whose batch norms keep the features of these images apart."""
    torch.manual_seed(0)
    model = MetricLearningModule()
    with torch.no_grad():
        model(read_images(datamodule.reference_set, 256))  # in the mode of training
    checkpoint = {
        "state_dict": model.state_dict(),
        "hyper_parameters": {"num_classes": 751, "embedding_size": 256, "lr": 0.05, "wd": 5e-4},
    }
    torch.save(checkpoint, file)
    return file


def read_images(image_set: ImageSet, count: int) -> Tensor:
    """Return images spread over a set, as the network gets them."""
    step = max(len(image_set) // count, 1)
    return image_set.read(range(0, len(image_set), step)[:count])[0].float() / 255


def measure_commands(
    checkpoint: str, data: Path, options: argparse.Namespace
) -> dict[str, list[Run]]:
    """Run all commands in turns."""
    accelerator = "gpu" if options.device == "cuda" else "cpu"
    with tempfile.TemporaryDirectory() as folder:
        record = Path(folder, "times.json")
        ours = [sys.executable, "eval.py", f"ckpt_path={checkpoint}", f"datamodule.data_dir={data}"]
        ours += [f"trainer={accelerator}", f"paths.log_dir={folder}/logs"]
        ours += [f"logger.mlflow.tracking_uri=sqlite:///{folder}/mlflow.db"]
        ours += ["+callbacks.clock._target_=benchmarks.throughput.Clock"]
        ours += [f"+callbacks.clock.file={record}"]
        plain = [sys.executable, "-m", "benchmarks.plain_evaluation", checkpoint, str(data)]
        commands = {
            "plain torch": [*plain, str(record), options.device],
            "eval.py": ours,
            "eval.py, no pictures": [*ours, "analysis.pictures=false"],
            "eval.py, bfloat16": [*ours, "trainer.precision=bf16-true", "analysis.pictures=false"],
        }
        runs: dict[str, list[Run]] = {name: [] for name in commands}
        for _ in range(options.rounds):
            for name, command in commands.items():
                runs[name].append(run_command(command, record))
    return runs


def run_command(command: list[str], record: Path) -> Run:
    """Run a command that writes its times to a file."""
    environment = {**os.environ, "PYTHONPATH": os.getcwd()}
    started = time.time()
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, env=environment)
    pid, peak = 0, 0.0
    while not pid:
        peak = max(peak, resident_bytes("VmHWM", process.pid))
        time.sleep(_POLL_SECONDS)
        pid, status, usage = os.wait4(process.pid, os.WNOHANG)
    ended = time.time()
    if status:
        raise RuntimeError(f"failed: {' '.join(command)}")
    times = json.loads(record.read_text())
    first, last, found = times["first"], times["last"], times.get("found", times["last"])
    spans = first - started, last - first, found - last, ended - found
    return Run(*spans, peak / 2**20, usage.ru_utime + usage.ru_stime)


def measure_reading(image_set: ImageSet, threads: int, rounds: int) -> dict[str, float]:
    """Images read per second, by Pillow and by the project."""
    positions = range(min(len(image_set), _READ_AT_MOST))

    def by_pillow() -> None:
        for index in positions:
            to_tensor(Image.open(image_set.images[index].path).convert("RGB"))

    def consume(batches: Iterable[object]) -> None:
        for _ in batches:
            pass

    batches = partial(Batches, image_set, positions, 64)
    ways = {
        "Pillow, ToTensor": by_pillow,
        "one thread": lambda: consume(batches(1)),
        f"{threads} threads": lambda: consume(batches(threads)),
    }
    return best_rates(ways, len(positions), rounds)


def measure_network(
    checkpoint_file: str, image_set: ImageSet, options: argparse.Namespace
) -> dict[str, tuple[float, float]]:
    """Images embedded per second by each form of the network, and its greatest deviation."""
    checkpoint = read_checkpoint(checkpoint_file)
    images = read_images(image_set, 512)
    plain: Any = load_model(_MODEL, checkpoint).eval().to(options.device)
    forms: dict[str, tuple[Callable[[Tensor], Tensor], int]] = {"plain": (plain, 32)}
    common: Any = {"accelerator": "gpu" if options.device == "cuda" else "cpu", "logger": False}
    for name, precision in _FORMS.items():
        model: Any = load_model(_MODEL, checkpoint)
        trainer = Trainer(precision=precision, enable_checkpointing=False, **common)  # type: ignore[arg-type]
        prepare_network(model, trainer, images[:16])
        forms[f"ours, {name}"] = partial(embed, model, trainer), 64
    images = images.to(options.device)

    def run(name: str) -> Tensor:
        form, batch_size = forms[name]
        with torch.inference_mode():
            return torch.cat([form(batch) for batch in images.split(batch_size)]).float().cpu()

    expected = run("plain")
    deviations = {name: relative_deviation(run(name), expected) for name in forms}
    ways = {name: partial(run, name) for name in forms}
    rates = best_rates(ways, len(images), _NETWORK_ROUNDS * options.rounds)
    return {name: (rates[name], deviations[name]) for name in forms}


def embed(model: Any, trainer: Trainer, images: Tensor) -> Tensor:
    """Embed a batch as the trainer lets the model do it."""
    with trainer.precision_plugin.test_step_context():
        embeddings: Tensor = model.embed(images)
    return embeddings


def best_rates(
    ways: Mapping[str, Callable[[], object]], images: int, rounds: int
) -> dict[str, float]:
    """Images per second of each way, the best of several rounds in which all take turns."""
    seconds = dict.fromkeys(ways, float("inf"))
    for _ in range(rounds):
        for name, way in ways.items():
            started = time.perf_counter()
            way()
            seconds[name] = min(seconds[name], time.perf_counter() - started)
    return {name: images / value for name, value in seconds.items()}


def print_table(
    runs: dict[str, list[Run]],
    reading: dict[str, float],
    network: dict[str, tuple[float, float]],
    options: argparse.Namespace,
) -> None:
    """Print all that was measured, with ratios to the plain evaluation and to the plain network."""
    best = {name: min(each, key=lambda run: run.seconds) for name, each in runs.items()}
    rates = {
        name: max((options.images - 64) / run.embedding for run in each)
        for name, each in runs.items()
    }
    heads = ["", "images/s", "ratio", "first", "search", "rest", "seconds", "ratio", "CPU s", "MiB"]
    table = Table(title=f"{options.images:,} images on {options.device}")
    for head in heads:
        table.add_column(head, justify="right" if head else "left")
    for name, run in best.items():
        table.add_row(
            name,
            f"{rates[name]:,.0f}",
            f"{rates[name] / rates['plain torch']:.2f}x",
            *(f"{value:.1f}" for value in (run.first, run.search, run.rest, run.seconds)),
            f"{run.seconds / best['plain torch'].seconds:.2f}x",
            f"{run.cpu:.0f}",
            f"{run.memory:,.0f}",
        )
    table.add_section()
    pillow = next(iter(reading.values()))
    for name, rate in reading.items():
        table.add_row(f"reading: {name}", f"{rate:,.0f}", f"{rate / pillow:.2f}x")
    table.add_section()
    for name, (rate, deviation) in network.items():
        ratio = f"{rate / network['plain'][0]:.2f}x"
        table.add_row(f"network: {name} ({deviation:.0e})", f"{rate:,.0f}", ratio)
    Console(width=120).print(table)
    print(
        "first: seconds from the command to the first batch embedded. rest: from the end of the "
        "search to that\nof the command; for plain torch it includes the search. In brackets: the "
        "greatest relative deviation."
    )


if __name__ == "__main__":
    main()
