"""The arguments of a command, before Hydra reads them."""

import os
import re
from collections.abc import Sequence

from src.utils.secrets import without_passwords

_FREE_NODES = re.compile(r"\+?model\.(module|options)\.(?!_)")
_ADDED = re.compile(r"\+\w+\.")
_TRACKING_URI = "logger.mlflow.tracking_uri="


def prepare_arguments(arguments: Sequence[str]) -> list[str]:
    """Let overrides add what only a network's own class knows, and keep passwords out of files.

    Hydra asks for a plus before options that its files do not name, and refuses one before others.
    Here none is needed for those of a network, and one too many does no harm.

    Hydra also writes all overrides to files. An address with a password therefore moves to
    `MLFLOW_TRACKING_URI`, where the configuration finds it.

    Example:
        >>> prepare_arguments(["model=module", "model.module.width=64"])
        ['model=module', '++model.module.width=64']
        >>> prepare_arguments(["+trainer.precision=bf16-mixed"])
        ['++trainer.precision=bf16-mixed']
    """
    kept = []
    for each in arguments:
        if each.startswith(_TRACKING_URI) and without_passwords(each) != each:
            os.environ["MLFLOW_TRACKING_URI"] = each.removeprefix(_TRACKING_URI)
        else:
            kept.append(_with_pluses(each))
    return kept


def _with_pluses(argument: str) -> str:
    """Let Hydra add an option, or set it if its files name it."""
    is_free = _FREE_NODES.match(argument) or _ADDED.match(argument)
    return f"++{argument.lstrip('+')}" if is_free else argument
