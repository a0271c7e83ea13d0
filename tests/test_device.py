"""Search, metric and evaluation on a device give what they give on the CPU.

`make gpu` runs these tests on a GPU; without one they are skipped. `--device cpu` tries the tests.
"""

from pathlib import Path
from typing import Any

import pytest
import torch

from src.eval import evaluate
from src.exact_retrieval import EmbeddingRetrieval, nearest_references
from tests.conftest import ComposeConfig
from tests.exact_retrieval.samples import DISTANCES, make_data
from tests.helpers import embed_again

pytestmark = pytest.mark.gpu


@pytest.fixture
def device(request: pytest.FixtureRequest) -> torch.device:
    device = torch.device(request.config.getoption("--device"))
    if device.type == "cuda" and not torch.cuda.is_available():
        pytest.skip("no CUDA device")
    return device


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64])
@pytest.mark.parametrize("distance", [*DISTANCES, "inner_product"])
@pytest.mark.parametrize("k", [1, 10])
def test_search(device: torch.device, distance: Any, dtype: torch.dtype, k: int) -> None:
    data = make_data(references=3000, queries=700, width=64, people=50)
    query, reference = data.query.to(dtype), data.reference.to(dtype)
    reference[1000:1100] = reference[:100]  # exact ties
    expected = nearest_references(query, reference, k=k, distance=distance)
    found = nearest_references(query.to(device), reference.to(device), k=k, distance=distance)
    assert found.index.device.type == device.type
    assert torch.equal(found.index.cpu(), expected.index)
    assert torch.allclose(found.similarity.cpu(), expected.similarity, rtol=1e-12, atol=0)


def test_metric(device: torch.device) -> None:
    data = make_data(references=500, queries=200, width=16, people=20)

    def measures(where: torch.device) -> dict[str, float]:
        metric = EmbeddingRetrieval(k=5).to(where)
        columns = (data.reference, data.reference_labels), (data.query, data.query_labels)
        for is_query, (embeddings, labels) in enumerate(columns):
            cameras = torch.arange(len(labels)) % 3
            batch = embeddings.to(where), labels.to(where)
            metric.update(*batch, is_query=bool(is_query), cameras=cameras.to(where))
        return {name: value.item() for name, value in metric.compute().items()}

    assert measures(device) == pytest.approx(measures(torch.device("cpu")), abs=1e-6)


@pytest.mark.parametrize("precision", ["32-true", "bf16-mixed"])
def test_evaluation(
    device: torch.device, eval_config: ComposeConfig, tmp_path: Path, precision: str
) -> None:
    options = ["logger=none", f"trainer.precision={precision}"]
    expected, on_cpu = evaluate(eval_config(*options))
    accelerator = "gpu" if device.type == "cuda" else "cpu"
    found, on_device = evaluate(eval_config(*options, f"trainer.accelerator={accelerator}"))
    metrics = embed_again(on_device), embed_again(on_cpu)
    for name in ("reference", "query"):
        embeddings, wanted = (torch.cat(getattr(each, f"{name}_embeddings")) for each in metrics)
        assert embeddings.device.type == device.type
        tolerance = 1e-5 if precision == "32-true" else 3e-2
        difference = embeddings.cpu().float() - wanted.float()
        assert (difference.norm(dim=1) <= tolerance * wanted.float().norm(dim=1)).all()
    if precision == "32-true":
        assert {name: value.item() for name, value in found.items()} == pytest.approx(
            {name: value.item() for name, value in expected.items()}, abs=1e-6
        )
