"""Objects from the groups of a configuration."""

from typing import Any

from hydra.errors import InstantiationException
from hydra.utils import instantiate
from omegaconf import DictConfig
from pytorch_lightning.loggers import Logger

from src.utils.launch import is_first_process


def instantiate_all(group: DictConfig | None) -> list[Any]:
    """Instantiate every node of a group; no group, and a node that is None, count as nothing."""
    nodes = instantiate(group) or {}
    return [node for node in nodes.values() if node is not None]


class UnavailableLogger(Logger):
    """In place of a logger that could not be made: it raises the reason at every call.

    Args:
        kind: what it should be.
        reason: why it is not.
    """

    name = version = ""

    def __init__(self, kind: str, reason: Exception) -> None:
        super().__init__()
        self.kind = kind
        self._reason = reason

    def log_hyperparams(self, *_: Any, **__: Any) -> None:
        """Raise the reason."""
        raise self._reason

    log_metrics = log_hyperparams


def instantiate_loggers(group: DictConfig | None) -> list[Logger]:
    """Instantiate the loggers of a group, in the first process of a job only.

    A store that is locked, damaged or out of reach makes an `UnavailableLogger`.

    Raises:
        ValueError: if an option of a logger is wrong.
    """
    nodes = (group or {}).values() if is_first_process() else ()
    return [_instantiate_logger(node) for node in nodes if node is not None]


def _instantiate_logger(node: DictConfig) -> Logger:
    try:
        logger: Logger = instantiate(node)
    except InstantiationException as error:
        if not isinstance(error.__cause__, Exception) or isinstance(
            error.__cause__, ValueError | TypeError
        ):
            raise
        return UnavailableLogger(node._target_.rpartition(".")[2], error.__cause__)
    return logger
