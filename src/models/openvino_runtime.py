"""Run a network by OpenVINO, which is faster on Intel's and AMD's CPUs."""

import warnings
from typing import Any

import torch
from torch import Tensor, nn
from torchmetrics import Metric

from src.models.retrieval_module import RetrievalModule

_PRECISIONS = {"32-true": "f32", "bf16-true": "bf16", "bf16-mixed": "bf16"}


class _Forward(nn.Module):
    """The network as OpenVINO reads it, without metrics and what Lightning adds."""

    def __init__(self, model: RetrievalModule) -> None:
        super().__init__()
        parts = {n: part for n, part in model.named_children() if not isinstance(part, Metric)}
        self.parts = nn.ModuleDict(parts)
        self._forward = type(model).forward.__get__(model)

    def forward(self, image: Tensor) -> Tensor:
        embeddings: Tensor = self._forward(image)
        return embeddings


def run_by_openvino(model: RetrievalModule, images: Tensor, precision: str) -> None:
    """Let OpenVINO embed in a network's place.

    Args:
        model: with its weights, in float32; changed in place.
        images: some, float32 [B, 3, H, W], on the CPU.
        precision: of the trainer.

    Raises:
        ValueError: if OpenVINO is missing or cannot run the network in this precision, or the
            images are not on the CPU.
    """
    if images.device.type != "cpu" or precision not in _PRECISIONS:
        raise ValueError(
            f"`model.runtime` openvino should go with trainer=cpu and trainer.precision among "
            f"{list(_PRECISIONS)}, got {images.device.type} and {precision}"
        )
    try:
        import openvino
    except ImportError as error:
        raise ValueError("`model.runtime` openvino needs more: pip install openvino") from error
    options: dict[str, Any] = {
        "INFERENCE_PRECISION_HINT": _PRECISIONS[precision],
        "INFERENCE_NUM_THREADS": torch.get_num_threads(),
        "PERFORMANCE_HINT": "LATENCY",
    }
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", "`torch.jit.trace", FutureWarning)
            program = openvino.convert_model(_Forward(model).eval(), example_input=images)
        network = openvino.Core().compile_model(program, "CPU", options)
    except Exception as error:  # its errors have no base of their own
        raise ValueError(f"`model.runtime` openvino cannot run this network: {error}") from error

    def run(image: Tensor) -> Tensor:
        return torch.from_numpy(network(image.float().numpy())[0].copy())

    model.forward = run  # type: ignore[method-assign]
