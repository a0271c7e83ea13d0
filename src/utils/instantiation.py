"""Objects from the groups of a configuration."""

from typing import Any

from hydra.utils import instantiate
from omegaconf import DictConfig
from pytorch_lightning.loggers import Logger

from src.utils.launch import is_first_process


def instantiate_all(group: DictConfig | None) -> list[Any]:
    """Instantiate every node of a group; no group, and a node that is None, count as nothing."""
    nodes = instantiate(group) or {}
    return [node for node in nodes.values() if node is not None]


def instantiate_loggers(group: DictConfig | None) -> list[Logger]:
    """Instantiate the loggers of a group, in the first process of a job only."""
    return instantiate_all(group) if is_first_process() else []
