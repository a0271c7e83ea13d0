"""Bring a network into the form in which it runs fastest, without embedding otherwise."""

import logging
import math
from collections import Counter
from collections.abc import Callable, Mapping
from typing import NamedTuple

import torch
from pytorch_lightning import Trainer
from pytorch_lightning.utilities import rank_zero_only
from torch import Tensor, nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

from src.models.components.onednn import put_into_onednn
from src.models.components.replacement import Undo, replace_modules
from src.models.openvino_runtime import run_by_openvino
from src.models.retrieval_module import RetrievalModule

_TOLERANCE = 1e-5
_FULL_PRECISION = "32-true"

_Layout = Callable[[RetrievalModule], Undo]

_logger = logging.getLogger(__name__)


class _Pair(NamedTuple):
    """A convolution and the batch norm that takes its output."""

    conv: nn.Conv2d
    norm: nn.BatchNorm2d


def prepare_network(model: RetrievalModule, trainer: Trainer, images: Tensor) -> float | None:
    """Move a network to its device, in its precision, in the fastest form that embeds equally.

    That form has each batch norm merged into the convolution before it. Between convolutions images
    are in oneDNN's layout where the device and all layers know it; otherwise the channels of a
    pixel lie together in memory. A form is taken if embeddings in float32 deviate by at most 1e-5.
    The log, and the model's `form`, say which one it is.

    Args:
        model: with its weights, in float32; changed in place.
        trainer: which decides on device and precision.
        images: the first ones, float32 [B, 3, H, W].

    Returns:
        How far embeddings in the precision of the trainer are from those in float32, as
        `relative_deviation` has it; None if torch computes in float32.

    Raises:
        ValueError: if the network's runtime cannot run it.
    """
    device = trainer.strategy.root_device
    if device.type == "cuda":
        torch.backends.cudnn.allow_tf32 = False  # which is float32 by name alone
    model.eval().to(device)
    images = images.to(device)
    with torch.no_grad():
        expected = model.embed(images)
        precision = trainer.precision_plugin
        if model.runtime == "openvino":
            run_by_openvino(model, images, precision.precision)
        else:
            _speed_up(model, images, expected, _layouts(device, precision.precision))
            if precision.precision == _FULL_PRECISION:
                return None
        precision.convert_module(model)
        with precision.test_step_context():
            return relative_deviation(model.embed(images), expected)


def name_precision(model: RetrievalModule, trainer: Trainer) -> str:
    """Name the precision of a trainer, and the runtime if it is not torch."""
    return f"{trainer.precision}{'' if model.runtime == 'torch' else ' by OpenVINO'}"


def relative_deviation(embeddings: Tensor, expected: Tensor) -> float:
    """Return the greatest distance of an embedding from the one expected, over the latter's norm.

    Args:
        embeddings: floating [B, D].
        expected: floating [B, D].
    """
    found, wanted = embeddings.double(), expected.double()
    return float(((found - wanted).norm(dim=1) / wanted.norm(dim=1)).max())


def _layouts(device: torch.device, precision: str) -> dict[str, _Layout]:
    """Return the ways to lay out images between convolutions, the fastest first."""
    channels_last: dict[str, _Layout] = {"channels last": _put_channels_last}
    is_x86 = device.type == "cpu" and "AVX" in torch.backends.cpu.get_cpu_capability()
    if not is_x86 or not torch.backends.mkldnn.is_available():
        return channels_last
    has_bfloat16 = torch.ops.mkldnn._is_mkldnn_bf16_supported()
    if precision == _FULL_PRECISION or (precision == "bf16-true" and has_bfloat16):
        return {"oneDNN's layout": put_into_onednn, **channels_last}
    return channels_last


@torch.no_grad()
def _speed_up(
    model: RetrievalModule, images: Tensor, expected: Tensor, layouts: Mapping[str, _Layout]
) -> None:
    pairs = _find_pairs(model, images[:1])
    if not pairs:
        _say("The network runs as it is: no batch norm follows a convolution")
        return
    separate = _fuse(model, pairs)
    deviation = math.inf
    for name, put in layouts.items():
        undo = put(model)
        try:
            deviation = relative_deviation(model.embed(images), expected)
        except Exception as error:  # of whatever kind a layer has that does not know the layout
            _say(f"The network does not run in {name}: {error}")
        if deviation <= _TOLERANCE:
            model.form = f"{len(pairs)} batch norms are merged into convolutions, {name}"
            _say(f"{model.form}: embeddings deviate by {deviation:.0e} at most")
            return
        undo()
    separate()
    _say(f"The network runs as it is: merged batch norms change embeddings by {deviation:.0e}")


@torch.no_grad()
def _find_pairs(model: RetrievalModule, images: Tensor) -> list[_Pair]:
    """Watch which batch norms take the output of a convolution, both being used once."""
    outputs: list[tuple[nn.Conv2d, Tensor]] = []
    uses: Counter[nn.Module] = Counter()
    pairs: list[_Pair] = []

    def see_conv(conv: nn.Conv2d, _: object, output: Tensor) -> None:
        uses[conv] += 1
        outputs.append((conv, output))

    def see_norm(norm: nn.BatchNorm2d, inputs: tuple[Tensor]) -> None:
        uses[norm] += 1
        pairs.extend(_Pair(conv, norm) for conv, output in outputs if output is inputs[0])

    handles = []
    for module in model.modules():
        if type(module) is nn.Conv2d:
            handles.append(module.register_forward_hook(see_conv))
        elif type(module) is nn.BatchNorm2d and module.track_running_stats:
            handles.append(module.register_forward_pre_hook(see_norm))
    model(images)
    for handle in handles:
        handle.remove()
    return [pair for pair in pairs if uses[pair.conv] == uses[pair.norm] == 1]


def _fuse(model: RetrievalModule, pairs: list[_Pair]) -> Undo:
    """Merge batch norms into their convolutions; return what takes that back."""
    replacements: dict[nn.Module, nn.Module] = {}
    for pair in pairs:
        fused = fuse_conv_bn_eval(pair.conv, pair.norm)
        replacements |= {pair.conv: fused}
        replacements |= {pair.norm: nn.Identity()}
    return replace_modules(model, replacements)


def _put_channels_last(model: RetrievalModule) -> Undo:
    """Put the channels of a pixel next to each other; return what takes that back."""
    convolutions = [module for module in model.modules() if type(module) is nn.Conv2d]

    def put(memory_format: torch.memory_format) -> None:
        model.memory_format = memory_format
        for conv in convolutions:
            conv.to(memory_format=memory_format)

    put(torch.channels_last)
    return lambda: put(torch.contiguous_format)


@rank_zero_only
def _say(what: str) -> None:
    _logger.info(what)
