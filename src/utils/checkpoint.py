"""Read checkpoints, and models from them, without running anything that they hold."""

import hashlib
import io
import pickle
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import safetensors.torch
import torch
from hydra.utils import get_class
from omegaconf import DictConfig, OmegaConf
from pytorch_lightning import LightningModule
from torch import Tensor, nn

from src.preprocessing import Preprocessing

_NEEDED = ("state_dict", "hyper_parameters")
_NAMED_AT_MOST = 5
_ARCHIVE = b"PK\x03\x04"


@dataclass(frozen=True)
class NetworkFile:
    """The file that a network, or its weights, come from.

    Attributes:
        path: of the file.
        sha256: of its content, hexadecimal.
        epoch: after which it was saved; None if it does not say.
    """

    path: Path
    sha256: str
    epoch: int | None = None


@dataclass(frozen=True)
class Checkpoint:
    """What a file of weights holds.

    Attributes:
        file: its path and digest.
        content: tensors and plain containers.
    """

    file: NetworkFile
    content: Mapping[str, Any]

    @property
    def preprocessing(self) -> Preprocessing | None:
        """That of the training; None if the file does not say, ValueError if it is invalid."""
        try:
            values = self.content.get("preprocessing")
            return None if values is None else Preprocessing(**values)
        except (TypeError, ValueError) as error:
            raise ValueError(f"`preprocessing` in {self.file.path} is invalid: {error}") from error

    @property
    def weights(self) -> dict[str, Tensor]:
        """The tensors by name, be they on top or under "state_dict"; ValueError without any."""
        weights = self.content.get("state_dict", self.content)
        items = weights.items() if isinstance(weights, Mapping) else [(None, None)]
        if not all(isinstance(name, str) and isinstance(value, Tensor) for name, value in items):
            raise ValueError(
                f"{self.file.path} should hold tensors by name, on top or under `state_dict`, got "
                f"{list(self.content)[:_NAMED_AT_MOST]}"
            )
        return dict(weights)


def read_checkpoint(path: str | Path) -> Checkpoint:
    """Read a checkpoint of Lightning's, of tensors and plain containers.

    Raises:
        FileNotFoundError: if there is no such file.
        ValueError: if the file is damaged, holds other objects, or lacks weights or
            hyper-parameters.
    """
    checkpoint = read_weights(path)
    missing = [key for key in _NEEDED if key not in checkpoint.content]
    if missing:
        raise ValueError(
            f"{path} should be a checkpoint that Lightning saved, with the keys {list(_NEEDED)}; "
            f"missing {missing}, found {sorted(map(str, checkpoint.content))[:_NAMED_AT_MOST]}. "
            "Weights alone go with model=module or model=timm"
        )
    return checkpoint


def read_weights(path: str | Path) -> Checkpoint:
    """Read tensors and plain containers, as torch saves them, or a safetensors file.

    Raises:
        FileNotFoundError: if there is no such file.
        ValueError: if the file is damaged, or holds other objects.
    """
    path = Path(path)
    if not path.is_file():
        what = ", which is a folder" if path.is_dir() else ""
        raise FileNotFoundError(f"No checkpoint at {path}{what}")
    file = path.read_bytes()
    try:
        check_archive(file)
        if path.suffix == ".safetensors":
            content: Any = safetensors.torch.load(file)
        else:
            content = torch.load(io.BytesIO(file), map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        raise ValueError(_refusal(path)) from error
    except Exception as error:  # a damaged file can make the reader stumble anywhere
        if "TorchScript" in str(error):
            raise ValueError(
                f"{path} is a TorchScript program, no checkpoint: choose model=exported "
                f"model.file={path} if you trust its origin"
            ) from error
        reason = _first_line(error)
        raise ValueError(f"{path} is no checkpoint, or a damaged one: {reason}") from error
    if not isinstance(content, Mapping):
        raise ValueError(f"{path} should hold tensors by name, found {type(content).__name__}")
    epoch = content.get("epoch")
    epoch = epoch if isinstance(epoch, int) else None
    return Checkpoint(NetworkFile(path, hashlib.sha256(file).hexdigest(), epoch), content)


def check_archive(content: bytes) -> None:
    """Refuse a zip archive, such as torch saves, whose content does not match its checksums.

    torch does not check them. Other files have none, nor do archives that torch saved without.

    Raises:
        ValueError: if it is damaged; the readers of archives raise other errors, too.
    """
    if not content.startswith(_ARCHIVE):
        return
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        has_checksums = any(entry.CRC for entry in archive.infolist())
        damaged = archive.testzip() if has_checksums else None
    if damaged is not None:
        raise ValueError(f"the content of {damaged} in it does not match its checksum")


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
    saved = checkpoint.content["hyper_parameters"]
    if not isinstance(saved, Mapping):
        raise ValueError(
            f"{checkpoint.file.path} should hold `hyper_parameters` by name, got "
            f"{type(saved).__name__}"
        )
    hyper_parameters = {**saved, **options}
    try:
        model = model_class(**hyper_parameters)
    except (TypeError, AttributeError, ArithmeticError, RuntimeError) as error:
        raise ValueError(
            f"{checkpoint.file.path} does not fit {model_class.__name__} with {hyper_parameters}: "
            f"{_first_line(error)}"
        ) from error
    load_weights(model, checkpoint.weights, checkpoint.file.path)
    return model


def load_weights(model: nn.Module, weights: Mapping[str, Tensor], source: Path) -> None:
    """Load weights of a file, all of them and no others.

    Raises:
        ValueError: if names or shapes differ.
    """
    own = model.state_dict()
    common = [(n, list(v.shape), list(own[n].shape)) for n, v in weights.items() if n in own]
    problems = {
        "missing": [name for name in own if name not in weights],
        "surplus": [name for name in weights if name not in own],
        "of another shape": [f"{n} {a} instead of {b}" for n, a, b in common if a != b],
        "of another kind": [
            f"{name} {value.dtype}"
            for name, value in weights.items()
            if name in own and value.is_floating_point() != own[name].is_floating_point()
        ],
    }
    if any(problems.values()):
        raise ValueError(
            f"{source} does not fit {type(model).__name__}:"
            + "".join(_count(kind, names) for kind, names in problems.items() if names)
            + _suggest_prefix(problems["missing"], problems["surplus"])
        )
    try:
        model.load_state_dict(weights)
    except RuntimeError as error:  # of tensors without values, or with few
        raise ValueError(f"{source} should hold plain tensors: {_first_line(error)}") from error


def _first_line(error: Exception) -> str:
    """Leave out where a library's own code raised an error."""
    return next(iter(str(error).strip().splitlines()), type(error).__name__)


def _count(kind: str, names: list[str]) -> str:
    rest = ", ..." if len(names) > _NAMED_AT_MOST else ""
    return f"\n{len(names)} {kind}: {', '.join(names[:_NAMED_AT_MOST])}{rest}"


def _suggest_prefix(missing: list[str], surplus: list[str]) -> str:
    """Name what surplus weights begin with, if all missing ones lack that alone."""
    first = missing[0] if missing else ""
    prefix = next((s.removesuffix(first) for s in surplus if first and s.endswith(f".{first}")), "")
    if prefix and {f"{prefix}{name}" for name in missing} <= set(surplus):
        return (
            f"\nThe names in the file begin with {prefix!r}: model.strip_prefix={prefix} with "
            "model=module or model=timm; a checkpoint of this project has to be saved without"
        )
    return ""


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
