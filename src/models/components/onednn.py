"""Keep images in the layout that oneDNN, which computes convolutions on CPUs, chooses itself."""

from typing import Any

import torch
from torch import Tensor, nn

from src.models.components.replacement import Undo, replace_modules


class OneDnnConv(nn.Module):
    """A convolution whose output is in oneDNN's layout.

    Its input may be in that layout, too. Weights are brought into it at the first images of a
    dtype.

    Args:
        conv: with its weights, and zeros as padding.
    """

    def __init__(self, conv: nn.Conv2d) -> None:
        super().__init__()
        self.conv = conv
        self._packed: Tensor | None = None

    def forward(self, images: Tensor) -> Tensor:
        """Convolve images [B, C, H, W] in either layout."""
        conv = self.conv
        options: Any = conv.padding, conv.stride, conv.dilation, conv.groups
        if not images.is_mkldnn:
            images = images.to_mkldnn()
        if self._packed is None or self._packed.dtype != conv.weight.dtype:
            pack: Any = torch._C._nn.mkldnn_reorder_conv2d_weight
            weight = conv.weight.detach().contiguous().to_mkldnn()
            self._packed = pack(weight, *options, images.shape)
        return torch.mkldnn_convolution(images, self._packed, conv.bias, *options)

    def __getstate__(self) -> dict[str, Any]:
        """Leave out what cannot be pickled."""
        return {**self.__dict__, "_packed": None}


def put_into_onednn(model: nn.Module) -> Undo:
    """Keep images in oneDNN's layout from the first convolution to the first linear layer.

    Additions, ReLU and pooling keep the layout; many other functions raise an error.

    Returns:
        What takes that back.
    """
    convolutions = [
        module
        for module in model.modules()
        if type(module) is nn.Conv2d and module.padding_mode == "zeros"
    ]
    undo_convolutions = replace_modules(model, {conv: OneDnnConv(conv) for conv in convolutions})
    hooks = [model.register_forward_hook(_give_dense)]
    hooks += [
        module.register_forward_pre_hook(_take_dense)
        for module in model.modules()
        if isinstance(module, nn.Linear)
    ]

    def undo() -> None:
        undo_convolutions()
        for hook in hooks:
            hook.remove()

    return undo


def _take_dense(_: nn.Module, inputs: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
    return tuple(each.to_dense() if each.is_mkldnn else each for each in inputs)


def _give_dense(_: nn.Module, __: tuple[Tensor, ...], output: Tensor) -> Tensor:
    return output.to_dense() if output.is_mkldnn else output
