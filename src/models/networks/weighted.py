"""Networks that are built by code, with weights from a file."""

from collections.abc import Iterable, Mapping
from typing import Any

from torch import nn

from src.models.retrieval_module import RetrievalModule
from src.preprocessing import Preprocessing
from src.utils.checkpoint import load_weights, read_weights


def open_module(
    module: nn.Module,
    weights: str | None = None,
    strip_prefix: str | None = None,
    ignore: Iterable[str] = (),
    **options: Any,
) -> RetrievalModule:
    """Put weights from a file into a network.

    Args:
        module: from images [B, 3, H, W] to embeddings [B, D].
        weights: a file that `read_weights` reads; None leaves the weights as they are.
        strip_prefix: what the names in the file begin with, and those of the network do not.
        ignore: what the names of further weights in the file begin with, such as a classifier's.
        options: as for `RetrievalModule`.

    Raises:
        FileNotFoundError: if there is no such file.
        ValueError: if the weights do not fit the network.
    """
    model = RetrievalModule(module, **options)
    if weights is None:
        return model
    checkpoint = read_weights(weights)
    kept = {
        name.removeprefix(strip_prefix or ""): value
        for name, value in checkpoint.weights.items()
        if not name.startswith(tuple(ignore))
    }
    load_weights(module, kept, checkpoint.file.path)
    model.file, model.preprocessing = checkpoint.file, checkpoint.preprocessing
    return model


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
        weights: as for `open_module`; those of the classifier are ignored.
        strip_prefix: likewise.
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

        network: Any = timm.create_model(name, pretrained=False, num_classes=0, **(options or {}))
    except ImportError as error:
        raise ValueError("model=timm needs timm: pip install timm") from error
    except (RuntimeError, TypeError) as error:
        raise ValueError(f"`model` should name a network of timm, got {name!r}: {error}") from error
    config = resolve_model_data_config(network)
    mode, fraction = config["crop_mode"], config["crop_pct"]
    if mode != "center" and (mode, fraction) != ("squash", 1):
        raise ValueError(f"`model` should crop the centre of images, timm's says {config}")
    classifier = network.pretrained_cfg.get("classifier") or ()
    names = (classifier,) if isinstance(classifier, str) else classifier
    heads = [f"{strip_prefix or ''}{each}." for each in names]
    model = open_module(network, weights, strip_prefix, [*ignore, *heads], **retrieval)
    model.preprocessing = Preprocessing(
        size=tuple(config["input_size"][1:]),
        mean=tuple(config["mean"]),
        std=tuple(config["std"]),
        interpolation=config["interpolation"],
        resize="crop" if mode == "center" else "stretch",
        crop_fraction=float(fraction),
    )
    return model
