"""Networks of torchvision, or of timm, without their classifier."""

from functools import partial
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import torch
from torch import nn
from torchvision import models

_CLASSIFIER_NAMES = ("fc", "classifier", "head", "heads")
_WEIGHTED = (nn.Linear, nn.Conv2d)


def build_backbone(name: str) -> tuple[nn.Module, int]:
    """Build a network that ends in its pooled features, with random weights.

    Args:
        name: of the network in `torchvision.models`, such as "resnet18", or otherwise in timm.

    Returns:
        The network, from images [B, 3, H, W] to features [B, F], and the width F.

    Raises:
        ValueError: if there is no such network.

    Example:
        >>> backbone, width = build_backbone("resnet18")
        >>> width
        512
    """
    if _is_timm(name):
        network = _build_timm(name)
        return network, network.head_hidden_size
    backbone = _build(name)
    classifier_name = next((n for n in _CLASSIFIER_NAMES if hasattr(backbone, n)), None)
    if classifier_name is None:
        raise ValueError(f"`backbone` should be a classification network, got {name!r}")
    classifier = getattr(backbone, classifier_name)
    setattr(backbone, classifier_name, _without_weights(classifier))
    return backbone, _input_width(classifier)


def load_imagenet_weights(backbone: nn.Module, name: str) -> None:
    """Put the ImageNet weights of torchvision or timm into a network of `build_backbone`.

    They come from a cache on disk, or are downloaded into it.

    Args:
        backbone: what `build_backbone(name)` returned.
        name: of the network.

    Raises:
        ValueError: if the weights are neither on disk nor to be had.
    """
    if _is_timm(name):
        where, load = "not in timm's cache", lambda: _build_timm(name, pretrained=True).state_dict()
    else:
        weights = models.get_model_weights(name).DEFAULT
        where = f"not at {Path(torch.hub.get_dir()) / 'checkpoints' / Path(weights.url).name}"
        load = partial(weights.get_state_dict, progress=True, check_hash=True, weights_only=True)
    try:
        state_dict = load()
    except (OSError, RuntimeError) as error:
        raise ValueError(
            f"The ImageNet weights of {name} are {where}, and downloading them failed: {error}. "
            "Put the file there, or start from random weights: initial_weights=random"
        ) from error
    own = backbone.state_dict()
    backbone.load_state_dict({key: value for key, value in state_dict.items() if key in own})


def _is_timm(name: str) -> bool:
    if name in models.list_models() or find_spec("timm") is None:
        return False
    from timm import is_model

    return bool(is_model(name))


def _build_timm(name: str, *, pretrained: bool = False) -> Any:
    from timm import create_model

    return create_model(name, pretrained=pretrained, num_classes=0)


def _build(name: str) -> nn.Module:
    # Auxiliary classifiers would turn the output of the training mode into a tuple.
    options = {"googlenet": {"aux_logits": False, "init_weights": True}}
    options["inception_v3"] = options["googlenet"]
    try:
        backbone: nn.Module = models.get_model(name, weights=None, **options.get(name, {}))
    except ValueError as error:
        timm = "timm has none of this name" if find_spec("timm") else "timm is not installed"
        raise ValueError(
            f"`backbone` should name a network of torchvision.models, got {name!r}; {timm}"
        ) from error
    return backbone


def _without_weights(classifier: nn.Module) -> nn.Module:
    """Drop a classifier from its first layer with weights on; pooling stays."""
    if not isinstance(classifier, nn.Sequential):
        return nn.Identity()
    layers = list(classifier)
    cut = next(i for i, layer in enumerate(layers) if isinstance(layer, _WEIGHTED))
    pooling = [layer for layer in layers[cut:] if isinstance(layer, nn.AdaptiveAvgPool2d)]
    kept = layers[:cut] + pooling
    return nn.Sequential(*kept) if kept else nn.Identity()


def _input_width(classifier: nn.Module) -> int:
    first = next(layer for layer in classifier.modules() if isinstance(layer, _WEIGHTED))
    width: int = first.in_features if isinstance(first, nn.Linear) else first.in_channels
    return width
