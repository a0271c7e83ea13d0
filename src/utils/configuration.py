"""The task's own part of a configuration that Hydra composed."""

from typing import Any

from omegaconf import DictConfig, OmegaConf


def as_plain_dict(cfg: DictConfig) -> dict[str, Any]:
    """Return all values, resolved, without Hydra's node."""
    own = OmegaConf.masked_copy(cfg, [str(key) for key in cfg if key != "hydra"])
    values = OmegaConf.to_container(own, resolve=True)
    assert isinstance(values, dict)
    return {str(key): value for key, value in values.items()}
