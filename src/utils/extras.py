"""What `cfg.extras` asks for before a task starts."""

import warnings

from omegaconf import DictConfig, OmegaConf
from pytorch_lightning.utilities import rank_zero_only
from rich.console import Console
from rich.syntax import Syntax

from src.utils.configuration import as_plain_dict

_IRRELEVANT_WARNINGS = [
    r".*isinstance\(treespec, LeafSpec\)",  # Lightning calls what torch is about to drop
    r".*does not have many workers",  # people choose datamodule.num_workers themselves
    r".*recommended to use `Trainer\(devices=1",  # the metric counts repeated samples once
    r".*recommended to use `self\.log\(.*sync_dist=True",  # what is logged is the same on all ranks
]


def apply_extras(cfg: DictConfig) -> None:
    """Hide warnings, insist on tags, print the configuration, where `cfg.extras` says so.

    Raises:
        ValueError: if `cfg.extras.enforce_tags` is set and there are no tags.
    """
    if cfg.extras.ignore_warnings:
        for message in _IRRELEVANT_WARNINGS:
            warnings.filterwarnings("ignore", message=message)
    if cfg.extras.enforce_tags and not cfg.tags:
        raise ValueError("`tags` should name the run as extras.enforce_tags is true, got none")
    if cfg.extras.print_config:
        _print_config(cfg)


@rank_zero_only
def _print_config(cfg: DictConfig) -> None:
    Console().print(Syntax(OmegaConf.to_yaml(OmegaConf.create(as_plain_dict(cfg))), "yaml"))
