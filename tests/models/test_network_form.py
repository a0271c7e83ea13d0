import copy
import logging
import pickle
from typing import Any

import pytest
import torch
from pytorch_lightning import Trainer
from torch import Tensor, nn
from torchvision.models import resnet18

from src.models.components.onednn import OneDnnConv
from src.models.network_form import name_precision, prepare_network, relative_deviation
from src.models.retrieval_module import RetrievalModule

IMAGES = torch.rand(5, 3, 16, 8, generator=torch.Generator().manual_seed(0))
LARGER_IMAGES = torch.rand(6, 3, 64, 32, generator=torch.Generator().manual_seed(0))
onednn = pytest.mark.skipif(
    "AVX" not in torch.backends.cpu.get_cpu_capability(), reason="no CPU for the layout of oneDNN"
)


class Network(nn.Module):
    """Two convolutions with batch norms, with or without what forbids to merge the first pair."""

    def __init__(self, kind: str = "plain") -> None:
        super().__init__()
        torch.manual_seed(0)
        self.kind = kind
        self.first, self.norm = nn.Conv2d(3, 3, 3, padding=1, bias=False), nn.BatchNorm2d(3)
        self.second, self.last_norm = nn.Conv2d(3, 7, 3), nn.BatchNorm2d(7)
        for norm in (self.norm, self.last_norm):
            norm.running_mean.uniform_(-1, 1)  # type: ignore[operator, union-attr]
            norm.running_var.uniform_(0.5, 2)  # type: ignore[operator, union-attr]
            nn.init.uniform_(norm.weight, 0.5, 2)
            nn.init.uniform_(norm.bias, -1, 1)

    def forward(self, image: Tensor) -> Tensor:
        features = self.first(image)
        normed = self.norm(features)
        if self.kind == "residual":
            normed = normed + features
        if self.kind == "conv twice":
            normed = normed + self.first(normed)
        if self.kind == "norm twice":
            normed = self.norm(normed)
        embeddings: Tensor = self.last_norm(self.second(normed.relu())).mean((2, 3))
        return embeddings


def norms(model: nn.Module) -> int:
    return sum(isinstance(module, nn.BatchNorm2d) for module in model.modules())


def prepare(network: nn.Module, **options: Any) -> tuple[RetrievalModule, float | None, Tensor]:
    """Return the model, the deviation that it states, and the embeddings of the plain network."""
    with torch.no_grad():
        expected = copy.deepcopy(network).eval()(IMAGES)
    model = RetrievalModule(network)
    trainer = Trainer(accelerator="cpu", logger=False, enable_checkpointing=False, **options)
    return model, prepare_network(model, trainer, IMAGES), expected


@pytest.mark.parametrize(
    ("kind", "kept"), [("plain", 0), ("residual", 2), ("conv twice", 1), ("norm twice", 1)]
)
def test_batch_norms_are_merged_where_embeddings_stay(
    kind: str, kept: int, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.INFO, "src.models.network_form"):
        model, deviation, expected = prepare(Network(kind))
    assert norms(model) == kept
    assert deviation is None
    with torch.inference_mode():
        assert relative_deviation(model.embed(IMAGES), expected) < 1e-6
    fast = "2 batch norms are merged into convolutions, channels last: embeddings deviate by"
    plain = "The network runs as it is: merged batch norms change embeddings by"
    said = {"plain": fast, "residual": plain}.get(kind, "1 batch norms are merged")
    assert said in caplog.text
    wanted = torch.contiguous_format if kind == "residual" else torch.channels_last
    assert model.memory_format == wanted


@onednn
@pytest.mark.parametrize(("precision", "tolerance"), [("32-true", 1e-5), ("bf16-true", 3e-2)])
@pytest.mark.parametrize("flip", [False, True])
def test_images_stay_in_the_layout_of_onednn(precision: Any, tolerance: float, flip: bool) -> None:
    network = resnet18(weights=None)
    with torch.no_grad():
        network.train()(LARGER_IMAGES)  # batch norms other than the identity
        expected = RetrievalModule(copy.deepcopy(network), flip=flip).eval().embed(LARGER_IMAGES)
    model = RetrievalModule(network, flip=flip)
    options: Any = {"precision": precision, "logger": False, "enable_checkpointing": False}
    prepare_network(model, Trainer(accelerator="cpu", **options), LARGER_IMAGES[:4])
    assert model.form == "20 batch norms are merged into convolutions, oneDNN's layout"
    copied = pickle.loads(pickle.dumps(model))
    layouts = []
    for module in model.modules():
        if isinstance(module, nn.ReLU | nn.MaxPool2d):
            module.register_forward_hook(lambda _, __, output: layouts.append(output.is_mkldnn))
    with torch.inference_mode():
        found = model.embed(LARGER_IMAGES)
        again = copied.embed(LARGER_IMAGES)
    assert layouts
    assert all(layouts)
    assert relative_deviation(found, expected) < tolerance
    assert torch.equal(again, found)


@onednn
def test_layers_that_do_not_know_the_layout(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO, "src.models.network_form"):
        model, _, _ = prepare(Network())  # which ends in a mean
    assert "The network does not run in oneDNN's layout:" in caplog.text
    assert model.form == "2 batch norms are merged into convolutions, channels last"
    assert not any(isinstance(module, OneDnnConv) for module in model.modules())


@onednn
@pytest.mark.parametrize(
    "options",
    [
        {},
        {"padding": 1, "bias": False},
        {"stride": 2, "padding": (2, 0)},
        {"dilation": 2, "groups": 4},
    ],
)
def test_a_convolution_in_the_layout_of_onednn(options: dict[str, Any]) -> None:
    conv = nn.Conv2d(8, 12, 3, **options)
    images = torch.rand(3, 8, 9, 7, generator=torch.Generator().manual_seed(0))
    with torch.inference_mode():
        expected, module = conv(images), OneDnnConv(conv)
        for given in (images, images.to_mkldnn()):
            torch.testing.assert_close(module(given).to_dense(), expected, rtol=1e-6, atol=1e-6)


def test_without_batch_norms(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO, "src.models.network_form"):
        model, _, expected = prepare(nn.Sequential(nn.Conv2d(3, 4, (16, 8)), nn.Flatten()))
    with torch.inference_mode():
        assert torch.equal(model.embed(IMAGES), expected)
    assert "no batch norm follows a convolution" in caplog.text


@pytest.mark.parametrize(("precision", "tolerance"), [("32-true", 1e-5), ("bf16-mixed", 3e-2)])
@pytest.mark.parametrize("flip", [False, True])
def test_openvino(precision: Any, tolerance: float, flip: bool) -> None:
    pytest.importorskip("openvino", reason="the extra openvino is not installed")
    network = Network("residual")
    with torch.no_grad():
        expected = RetrievalModule(copy.deepcopy(network), flip=flip).eval().embed(IMAGES)
    model = RetrievalModule(network, flip=flip, runtime="openvino")
    trainer = Trainer(accelerator="cpu", precision=precision, logger=False)
    deviation = prepare_network(model, trainer, IMAGES[:2])
    assert deviation is not None
    assert 0 < deviation < tolerance
    with torch.inference_mode():
        assert relative_deviation(model.embed(IMAGES), expected) < tolerance
    assert name_precision(model, trainer) == f"{precision} by OpenVINO"


def test_what_openvino_does_not_run() -> None:
    model = RetrievalModule(Network(), runtime="openvino")
    trainer = Trainer(accelerator="cpu", precision="64-true", logger=False)
    with pytest.raises(ValueError, match=r"`model.runtime` openvino .* got cpu and 64-true"):
        prepare_network(model, trainer, IMAGES)
    with pytest.raises(ValueError, match=r"`runtime` should be one of .* got 'tvm'"):
        RetrievalModule(Network(), runtime="tvm")  # type: ignore[arg-type]


@pytest.mark.parametrize("precision", ["bf16-true", "bf16-mixed", "64-true"])
def test_the_deviation_of_another_precision(precision: Any) -> None:
    model, deviation, expected = prepare(Network(), precision=precision)
    plugin = Trainer(accelerator="cpu", logger=False, precision=precision).precision_plugin
    with plugin.test_step_context(), torch.inference_mode():
        found = model.embed(IMAGES)
    distances = (found.double() - expected.double()).square().sum(1).sqrt()
    assert deviation == pytest.approx((distances / expected.double().norm(dim=1)).max().item())
    assert deviation == pytest.approx(0, abs=1e-6 if precision == "64-true" else 3e-2)
    assert deviation > 0
