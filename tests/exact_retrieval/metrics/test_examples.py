"""The examples of the README, and what else Lightning does with the metric."""

import re
from pathlib import Path
from typing import Any

import pytest
import torch
from pytorch_lightning import LightningModule, Trainer
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset, TensorDataset

from src.exact_retrieval import NearestNeighborAccuracy
from tests.conftest import ROOT
from tests.exact_retrieval import oracle
from tests.exact_retrieval.processes import run_in_processes
from tests.exact_retrieval.samples import make_data

# One worker of pytest-xdist runs all tests that start processes.
pytestmark = pytest.mark.xdist_group("processes")

SECTION = (ROOT / "README.md").read_text().split("\n## The metric alone\n")[1].split("\n## ")[0]
PLAIN, LIGHTNING, DISTRIBUTED = re.findall(r"```python\n(.*?)```", SECTION, re.DOTALL)


class Samples(Dataset[tuple[Tensor, ...]]):
    """Images, labels and, at the end, the position in the set."""

    def __init__(self, images: Tensor, labels: Tensor) -> None:
        self.images, self.labels = images, labels

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, index: int) -> tuple[Tensor, ...]:
        return self.images[index], self.labels[index], torch.tensor(index)


def make_network() -> nn.Module:
    torch.manual_seed(0)
    return nn.Linear(8, 6)


DATA = make_data(61, 26)
REFERENCES = Samples(DATA.reference, DATA.reference_labels)
QUERIES = Samples(DATA.query, DATA.query_labels)


def expected(network: nn.Module) -> float:
    with torch.no_grad():
        sets = network(DATA.query), DATA.query_labels, network(DATA.reference)
    value = oracle.accuracy(*sets, DATA.reference_labels, "cosine")
    assert 0.1 < value < 0.9
    return value


def run(code: str, **names: Any) -> dict[str, Any]:
    assert sum(map(bool, code.splitlines())) <= 10
    exec(code.replace("from exact_retrieval", "from src.exact_retrieval"), names)
    return names


def test_the_plain_loop(capsys: pytest.CaptureFixture[str]) -> None:
    network = make_network()
    loaders = {
        f"{name}_loader": DataLoader(TensorDataset(samples.images, samples.labels), batch_size=7)
        for name, samples in (("reference", REFERENCES), ("query", QUERIES))
    }
    run(PLAIN, network=network, **loaders)
    assert capsys.readouterr().out == f"tensor({expected(network):.4f})\n"


def evaluate(module: LightningModule, folder: Path, *datasets: Dataset[Any]) -> dict[str, float]:
    trainer = Trainer(
        accelerator="cpu",
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        default_root_dir=folder,
    )
    trainer.test(module, [DataLoader(dataset, batch_size=9) for dataset in datasets], verbose=False)
    return {name: value.item() for name, value in trainer.callback_metrics.items()}


def test_a_lightning_module(tmp_path: Path) -> None:
    network = make_network()
    names = run(
        LIGHTNING, LightningModule=LightningModule, NearestNeighborAccuracy=NearestNeighborAccuracy
    )
    module = names["Embedder"](network)
    for _ in range(2):
        value = pytest.approx(expected(network))
        assert evaluate(module, tmp_path, REFERENCES, QUERIES) == {"test/acc": value}
        with torch.no_grad():  # another network: Lightning has to have emptied the metric
            network.weight.copy_(network.weight.flip(1))


class LogsInTestStep(LightningModule):
    """Logs in `test_step`, as is usual for metrics that one batch suffices for."""

    def __init__(self, *, by_forward: bool, mixed: bool) -> None:
        super().__init__()
        self.network = make_network()
        self.acc = NearestNeighborAccuracy()
        self.by_forward, self.mixed = by_forward, mixed

    def test_step(self, batch: tuple[Tensor, ...], batch_idx: int, dataloader_idx: int = 0) -> None:
        images, labels, indices = batch
        is_query: bool | Tensor = dataloader_idx == 1
        if self.mixed:
            is_query = indices >= len(REFERENCES)
            indices = indices - len(REFERENCES) * is_query
        add = self.acc if self.by_forward else self.acc.update
        add(self.network(images), labels, is_query, indices)
        self.log("test/acc", self.acc, on_step=False, on_epoch=True)


@pytest.mark.parametrize("by_forward", [False, True])
def test_logging_in_the_test_step_says_what_to_do_instead(tmp_path: Path, by_forward: bool) -> None:
    with pytest.raises(ValueError, match=r"after each dataloader: log it in `on_test_epoch_end`"):
        evaluate(LogsInTestStep(by_forward=by_forward, mixed=False), tmp_path, REFERENCES, QUERIES)


@pytest.mark.parametrize("by_forward", [False, True])
def test_logging_in_the_test_step_with_one_loader(tmp_path: Path, by_forward: bool) -> None:
    module = LogsInTestStep(by_forward=by_forward, mixed=True)
    images = torch.cat([REFERENCES.images, QUERIES.images])
    labels = torch.cat([REFERENCES.labels, QUERIES.labels])
    value = pytest.approx(expected(module.network))
    assert evaluate(module, tmp_path, Samples(images, labels)) == {"test/acc": value}


def run_distributed(rank: int, size: int) -> float:
    from torch.utils.data import DistributedSampler

    names = run(
        DISTRIBUTED,
        NearestNeighborAccuracy=NearestNeighborAccuracy,
        DataLoader=DataLoader,
        DistributedSampler=DistributedSampler,
        references=REFERENCES,
        queries=QUERIES,
        network=make_network(),
    )
    value: float = names["metric"].compute().item()
    return value


@pytest.mark.parametrize("size", [1, 3])
def test_several_processes(tmp_path: Path, size: int) -> None:
    values = run_in_processes(run_distributed, size, tmp_path)
    assert values == [pytest.approx(expected(make_network()))] * size
