"""Read a model from a checkpoint without running any code in it."""

import hashlib
import pickle
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from hydra.utils import get_class
from omegaconf import DictConfig, OmegaConf
from pytorch_lightning import LightningModule

_NEEDED = ("state_dict", "hyper_parameters")


def load_model(model_config: DictConfig, path: str | Path) -> LightningModule:
    """Build the model that was saved in a checkpoint, with its weights.

    Args:
        model_config: Hydra node with the `_target_`; its other keys take precedence over the
            checkpoint's hyper-parameters.
        path: a checkpoint in Lightning's format.

    Raises:
        FileNotFoundError: if there is no such file.
        ValueError: if the file is no such checkpoint, or its weights do not fit the model.
    """
    checkpoint = read_checkpoint(path)
    options = OmegaConf.to_container(model_config, resolve=True)
    assert isinstance(options, dict)
    # Not hydra.utils.instantiate: a `_target_` among the hyper-parameters would run.
    model_class: type[LightningModule] = get_class(options.pop("_target_"))
    hyper_parameters = {**checkpoint["hyper_parameters"], **options}
    try:
        model = model_class(**hyper_parameters)
    except TypeError as error:
        raise ValueError(
            f"{path} does not fit {model_class.__name__} with {hyper_parameters}: {error}"
        ) from error
    load_weights(model, checkpoint, path)
    return model


def load_weights(model: LightningModule, checkpoint: Mapping[str, Any], path: str | Path) -> None:
    """Load all weights of a checkpoint.

    Args:
        model: into which they are loaded.
        checkpoint: what `read_checkpoint(path)` returned.
        path: the file, for the message.

    Raises:
        ValueError: if names or shapes differ.
    """
    try:
        model.load_state_dict(checkpoint["state_dict"], strict=True)
    except RuntimeError as error:
        raise ValueError(
            f"{path} does not fit {type(model).__name__} with {dict(model.hparams)}: {error}"
        ) from error


def read_checkpoint(path: str | Path) -> dict[str, Any]:
    """Read a checkpoint of tensors and plain containers.

    Raises:
        FileNotFoundError: if there is no such file.
        ValueError: if the file is damaged, holds other objects, or lacks weights or
            hyper-parameters.
    """
    if not Path(path).is_file():
        raise FileNotFoundError(f"No checkpoint at {path}")
    try:
        checkpoint = torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        raise ValueError(_refusal(path)) from error
    except Exception as error:  # a damaged file can raise anything
        raise ValueError(f"{path} is no checkpoint, or a damaged one: {error}") from error
    found = sorted(map(str, checkpoint)) if isinstance(checkpoint, Mapping) else []
    missing = [key for key in _NEEDED if key not in found]
    if missing:
        raise ValueError(
            f"{path} should be a checkpoint that Lightning saved, with the keys {list(_NEEDED)}; "
            f"missing {missing}, found {found[:5] or type(checkpoint).__name__}"
        )
    return dict(checkpoint)


def sha256_of(path: str | Path) -> str:
    """Return the hexadecimal SHA-256 of a file's content."""
    with Path(path).open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _refusal(path: str | Path) -> str:
    try:
        named = ", ".join(sorted(torch.serialization.get_unsafe_globals_in_checkpoint(path)))
    except Exception:  # not even the archive can be read
        return f"{path} is no checkpoint, or a damaged one"
    return (
        f"{path} holds more than tensors and plain containers, and loading it could run code: "
        f"{named}. Nothing was loaded. If you trust its origin, save it again with plain values "
        "in their place"
    )
