"""Read checkpoints, and models from them, without running anything that they hold."""

import hashlib
import io
import pickle
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from hydra.utils import get_class
from omegaconf import DictConfig, OmegaConf
from pytorch_lightning import LightningModule

_NEEDED = ("state_dict", "hyper_parameters")


@dataclass(frozen=True)
class Checkpoint:
    """What a file of Lightning's format holds.

    Attributes:
        path: the file.
        sha256: of its content, hexadecimal.
        content: tensors and plain containers, "state_dict" and "hyper_parameters" among them.
    """

    path: Path
    sha256: str
    content: Mapping[str, Any]

    @property
    def epoch(self) -> int | None:
        """The epoch after which it was saved; None if it does not say."""
        epoch = self.content.get("epoch")
        return epoch if isinstance(epoch, int) else None


def read_checkpoint(path: str | Path) -> Checkpoint:
    """Read a checkpoint of tensors and plain containers.

    Raises:
        FileNotFoundError: if there is no such file.
        ValueError: if the file is damaged, holds other objects, or lacks weights or
            hyper-parameters.
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"No checkpoint at {path}")
    file = path.read_bytes()
    try:
        content = torch.load(io.BytesIO(file), map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        raise ValueError(_refusal(path)) from error
    except Exception as error:  # a damaged file can make the reader stumble anywhere
        raise ValueError(f"{path} is no checkpoint, or a damaged one: {error}") from error
    found = sorted(map(str, content)) if isinstance(content, Mapping) else []
    missing = [key for key in _NEEDED if key not in found]
    if missing:
        raise ValueError(
            f"{path} should be a checkpoint that Lightning saved, with the keys {list(_NEEDED)}; "
            f"missing {missing}, found {found[:5] or type(content).__name__}"
        )
    return Checkpoint(path, hashlib.sha256(file).hexdigest(), content)


def load_model(model_config: DictConfig, checkpoint: Checkpoint) -> LightningModule:
    """Build the model that a checkpoint was saved from, with its weights.

    Args:
        model_config: Hydra node with the `_target_`; its other keys take precedence over the
            checkpoint's hyper-parameters.
        checkpoint: where the hyper-parameters and the weights come from.

    Raises:
        ValueError: if the weights do not fit the model.
    """
    options = OmegaConf.to_container(model_config, resolve=True)
    assert isinstance(options, dict)
    # Not hydra.utils.instantiate: a `_target_` among the hyper-parameters would run.
    model_class: type[LightningModule] = get_class(options.pop("_target_"))
    hyper_parameters = {**checkpoint.content["hyper_parameters"], **options}
    try:
        model = model_class(**hyper_parameters)
    except TypeError as error:
        raise ValueError(
            f"{checkpoint.path} does not fit {model_class.__name__} with {hyper_parameters}: "
            f"{error}"
        ) from error
    load_weights(model, checkpoint)
    return model


def load_weights(model: LightningModule, checkpoint: Checkpoint) -> None:
    """Load the weights of a checkpoint, all of them.

    Raises:
        ValueError: if names or shapes differ.
    """
    try:
        model.load_state_dict(checkpoint.content["state_dict"], strict=True)
    except RuntimeError as error:
        raise ValueError(
            f"{checkpoint.path} does not fit {type(model).__name__} with {dict(model.hparams)}: "
            f"{error}"
        ) from error


def _refusal(path: Path) -> str:
    try:
        named = ", ".join(sorted(torch.serialization.get_unsafe_globals_in_checkpoint(path)))
    except Exception:  # not even the archive can be read
        return f"{path} is no checkpoint, or a damaged one"
    return (
        f"{path} holds more than tensors and plain containers, and loading it could run code: "
        f"{named}. Nothing was loaded. If you trust its origin, save it again with plain values "
        "in their place"
    )
