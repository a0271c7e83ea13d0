"""The task's own part of a configuration that Hydra composed."""

from typing import Any

from omegaconf import DictConfig, OmegaConf

from src.utils.secrets import without_passwords


def as_plain_dict(cfg: DictConfig) -> dict[str, Any]:
    """Return all values, resolved, without Hydra's node and without passwords in addresses."""
    own = OmegaConf.masked_copy(cfg, [str(key) for key in cfg if key != "hydra"])
    values = OmegaConf.to_container(own, resolve=True)
    assert isinstance(values, dict)
    return {str(key): _clean(value) for key, value in values.items()}


def _clean(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _clean(each) for key, each in value.items()}
    if isinstance(value, list):
        return [_clean(each) for each in value]
    return without_passwords(value) if isinstance(value, str) else value
