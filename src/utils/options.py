"""What options have to be, told before the work starts."""

from collections.abc import Callable, Mapping
from numbers import Real
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, OmegaConf

Kind = tuple[str, Callable[[Any], bool]]


def _is_integer(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _is_number(value: Any) -> bool:
    return isinstance(value, Real) and not isinstance(value, bool)


_POSITIVE: Kind = "a positive integer", lambda value: _is_integer(value) and value > 0
_NATURAL: Kind = "an integer of at least 0", lambda value: _is_integer(value) and value >= 0
_SEED: Kind = "an integer from 0 to 4294967295", lambda v: _is_integer(v) and 0 <= v < 2**32
_AMOUNT: Kind = "a number of at least 0", lambda value: _is_number(value) and value >= 0
_SCALE: Kind = "a positive number", lambda value: _is_number(value) and value > 0
_SHARE: Kind = "a number between 0 and 1", lambda value: _is_number(value) and 0 < value < 1
_SWITCH: Kind = "true or false", lambda value: isinstance(value, bool)
_PATH: Kind = "a path", lambda value: isinstance(value, str | Path) and str(value) != ""
_EPOCHS: Kind = (
    "a positive integer, or -1 for ever",
    lambda v: _is_integer(v) and (v > 0 or v == -1),
)
_TAGS: Kind = "a list, such as [first,second]", lambda value: isinstance(value, list)


def _or_auto(kind: Kind) -> Kind:
    name, fits = kind
    return f"{name}, or auto", lambda value: value == "auto" or fits(value)


def _or_null(kind: Kind) -> Kind:
    name, fits = kind
    return f"{name}, or null", lambda value: value is None or fits(value)


_KINDS: Mapping[str, Kind] = {
    "analysis.confidence": _SHARE,
    "analysis.pictures": _SWITCH,
    "analysis.report": _SWITCH,
    "ckpt_path": _or_null(_PATH),
    "confidence": _SHARE,
    "datamodule.batch_size": _or_auto(_POSITIVE),
    "datamodule.data_dir": _PATH,
    "datamodule.distractors": _SWITCH,
    "datamodule.file": _PATH,
    "datamodule.identities": _POSITIVE,
    "datamodule.leave_one_out": _SWITCH,
    "datamodule.num_workers": _or_auto(_NATURAL),
    "datamodule.pin_memory": _or_auto(_SWITCH),
    "datamodule.sample_seed": _NATURAL,
    "embeddings.keep": _SWITCH,
    "embeddings.shard_images": _POSITIVE,
    "extras.enforce_tags": _SWITCH,
    "extras.ignore_warnings": _SWITCH,
    "extras.print_config": _SWITCH,
    "model.embedding_size": _POSITIVE,
    "model.flip": _SWITCH,
    "model.k": _POSITIVE,
    "model.lr": _AMOUNT,
    "model.margin": _AMOUNT,
    "model.scale": _SCALE,
    "model.warmup_epochs": _NATURAL,
    "model.wd": _AMOUNT,
    "resume": _or_null(_PATH),
    "run": _PATH,
    "seed": _SEED,
    "tags": _or_null(_TAGS),
    "test": _SWITCH,
    "trainer.log_every_n_steps": _NATURAL,
    "trainer.max_epochs": _or_null(_EPOCHS),
}


def check_options(cfg: DictConfig) -> None:
    """Refuse options of another kind, such as text for a number.

    Raises:
        ValueError: if there is one.
    """
    for name, (kind, fits) in _KINDS.items():
        parent, _, key = name.rpartition(".")
        node = OmegaConf.select(cfg, parent) if parent else cfg
        if not isinstance(node, DictConfig) or key not in node or OmegaConf.is_missing(node, key):
            continue
        value = node[key]
        value = OmegaConf.to_container(value) if OmegaConf.is_config(value) else value
        if not fits(value):
            hint = "; several go with -m and commas" if name == "ckpt_path" else ""
            raise ValueError(f"`{name}` should be {kind}, got {value!r}{hint}")
