"""Objects from the groups of a configuration."""

from typing import Any, TypeVar

from hydra.errors import InstantiationException
from hydra.utils import instantiate
from omegaconf import DictConfig, OmegaConf
from pytorch_lightning import Callback
from pytorch_lightning.loggers import Logger

from src.utils.launch import is_first_process

T = TypeVar("T")


def build(cfg: DictConfig, name: str, kind: type[T], **arguments: Any) -> T:
    """Instantiate a group of a configuration.

    Raises:
        ValueError: if it makes something else than `kind`.
    """
    node = cfg[name]
    built = instantiate(node, **arguments) if OmegaConf.is_dict(node) else node
    if not isinstance(built, kind):
        raise ValueError(
            f"`{name}` should have a `_target_` that makes a {kind.__name__}, got {built!r}"
        )
    return built


def build_callbacks(cfg: DictConfig) -> list[Callback]:
    """Instantiate the callbacks; no group, and a node that is None, count as nothing.

    Raises:
        ValueError: if one makes something else.
    """
    group = cfg.get("callbacks") or DictConfig({})
    return [build(group, str(name), Callback) for name in group if group[name] is not None]


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
