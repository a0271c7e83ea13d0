"""What `cfg.extras` asks for before a task starts."""

import warnings

from omegaconf import DictConfig, OmegaConf
from pytorch_lightning.utilities import rank_zero_only

from src.utils.configuration import as_plain_dict

_IRRELEVANT_WARNINGS = [
    r".*isinstance\(treespec, LeafSpec\)",  # Lightning calls what torch is about to drop
    r".*does not have many workers",  # the user chooses datamodule.num_workers
    r".*recommended to use `Trainer\(devices=1",  # the metric counts repeated samples once
    r".*recommended to use `self\.log\(.*sync_dist=True",  # all ranks log the same value
    r".*'str' dtypes are included by select_dtypes",  # MLflow's tables look for columns of images
]


def apply_extras(cfg: DictConfig) -> None:
    """Hide warnings, require tags and print the configuration, as `cfg.extras` says.

    Raises:
        ValueError: if `cfg.extras.enforce_tags` is set and there are no tags.
    """
    if cfg.extras.ignore_warnings:
        for message in _IRRELEVANT_WARNINGS:
            warnings.filterwarnings("ignore", message=message)
    if cfg.extras.enforce_tags and not cfg.tags:
        raise ValueError("`tags` should name the run because extras.enforce_tags is set, got none")
    if cfg.extras.print_config:
        rank_zero_only(print)(OmegaConf.to_yaml(OmegaConf.create(as_plain_dict(cfg))))
