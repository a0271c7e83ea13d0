"""A network of timm, the PyTorch image models."""

from collections.abc import Iterable, Mapping
from typing import Any

from src.models.networks.own_module import open_module
from src.models.retrieval_module import RetrievalModule
from src.preprocessing import Preprocessing


def open_timm(
    name: str,
    weights: str | None = None,
    strip_prefix: str | None = None,
    ignore: Iterable[str] = (),
    options: Mapping[str, Any] | None = None,
    **retrieval: Any,
) -> RetrievalModule:
    """Build a network of timm without its classifier.

    Args:
        name: of the network, as `timm.list_models` has it.
        weights: as for `open_module`; None for random weights. Those of the classifier are ignored.
        strip_prefix: as for `open_module`.
        ignore: likewise.
        options: of `timm.create_model`, such as img_size.
        retrieval: as for `RetrievalModule`.

    Returns:
        The network, with the preprocessing of timm's own configuration.

    Raises:
        FileNotFoundError: if there is no such file.
        ValueError: if timm is missing, has no such network, or the weights do not fit.
    """
    try:
        import timm
        from timm.data.config import resolve_model_data_config
    except ImportError as error:
        raise ValueError("model=timm needs timm: pip install timm") from error
    try:
        network: Any = timm.create_model(name, pretrained=False, num_classes=0, **(options or {}))
    except (RuntimeError, TypeError) as error:
        raise ValueError(f"`model` should name a network of timm, got {name!r}: {error}") from error
    classifier = network.pretrained_cfg.get("classifier") or ()
    names = (classifier,) if isinstance(classifier, str) else classifier
    heads = [f"{strip_prefix or ''}{each}." for each in names]
    model = open_module(network, weights, strip_prefix, [*ignore, *heads], **retrieval)
    model.preprocessing = _preprocessing(resolve_model_data_config(network))
    return model


def _preprocessing(config: Mapping[str, Any]) -> Preprocessing:
    """Translate timm's configuration; it squashes what this project calls stretching."""
    fraction = config["crop_pct"]
    is_whole = config["crop_mode"] == "squash" and fraction == 1
    if not is_whole and config["crop_mode"] != "center":
        raise ValueError(
            f"`model` should crop the centre of images, timm's configuration says {config}"
        )
    return Preprocessing(
        size=tuple(config["input_size"][1:]),
        mean=tuple(config["mean"]),
        std=tuple(config["std"]),
        interpolation=config["interpolation"],
        resize="stretch" if is_whole else "crop",
        crop_fraction=float(fraction),
    )
