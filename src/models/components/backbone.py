"""Torchvision networks without their classifier."""

from pathlib import Path

import torch
from torch import nn
from torchvision import models

from src.datamodules.market_datamodule import IMAGE_SIZE

_CLASSIFIER_NAMES = ("fc", "classifier", "head", "heads")
_WEIGHTED = (nn.Linear, nn.Conv2d)


def build_backbone(name: str) -> tuple[nn.Module, int]:
    """Build a torchvision network that ends in its pooled features, with random weights.

    Args:
        name: of the network in `torchvision.models`, such as "resnet18".

    Returns:
        The network, from images [B, 3, 128, 64] to features [B, F], and the width F.

    Raises:
        ValueError: if torchvision has no such network, or it cannot take images of this size.

    Example:
        >>> backbone, width = build_backbone("resnet18")
        >>> width
        512
    """
    backbone = _build(name)
    classifier_name = next((n for n in _CLASSIFIER_NAMES if hasattr(backbone, n)), None)
    if classifier_name is None:
        raise ValueError(f"`backbone` should be a classification network, got {name!r}")
    features = _without_weights(getattr(backbone, classifier_name))
    setattr(backbone, classifier_name, features)
    return backbone, _feature_width(name, backbone)


def load_imagenet_weights(backbone: nn.Module, name: str) -> None:
    """Put torchvision's ImageNet weights into a network of `build_backbone`.

    They come from torch's cache on disk, or are downloaded into it.

    Args:
        backbone: what `build_backbone(name)` returned.
        name: of the network.

    Raises:
        ValueError: if the weights are neither on disk nor to be had.
    """
    weights = models.get_model_weights(name).DEFAULT
    cached = Path(torch.hub.get_dir()) / "checkpoints" / Path(weights.url).name
    try:
        state_dict = weights.get_state_dict(progress=True, check_hash=True, weights_only=True)
    except (OSError, RuntimeError) as error:
        raise ValueError(
            f"The ImageNet weights of {name} are not at {cached}, and downloading {weights.url} "
            f"failed: {error}. Put the file there, or start from random weights: "
            "initial_weights=random"
        ) from error
    own = backbone.state_dict()
    backbone.load_state_dict({key: value for key, value in state_dict.items() if key in own})


def _build(name: str) -> nn.Module:
    # Auxiliary classifiers would turn the output of the training mode into a tuple.
    options = {"googlenet": {"aux_logits": False, "init_weights": True}}
    options["inception_v3"] = options["googlenet"]
    try:
        backbone: nn.Module = models.get_model(name, weights=None, **options.get(name, {}))
    except ValueError as error:
        raise ValueError(
            f"`backbone` should name a network of torchvision.models, got {name!r}"
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


def _feature_width(name: str, backbone: nn.Module) -> int:
    training = backbone.training
    try:
        with torch.no_grad():
            features = backbone.eval()(torch.zeros(1, 3, *IMAGE_SIZE))
    except (RuntimeError, AssertionError, ValueError) as error:
        height, width = IMAGE_SIZE
        raise ValueError(
            f"`backbone` should take images of {height} x {width} pixels, "
            f"{name!r} does not: {error}"
        ) from error
    finally:
        backbone.train(training)
    if features.ndim != 2:
        raise ValueError(
            f"`backbone` should give features [B, F], {name!r} gives {list(features.shape)}"
        )
    return int(features.shape[1])
