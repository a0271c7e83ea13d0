import pytest
from omegaconf import OmegaConf
from pytorch_lightning.utilities import rank_zero_only

from src.utils.instantiation import instantiate_all, instantiate_loggers

GROUP = OmegaConf.create({"one": {"_target_": "builtins.int"}, "other": None})


def test_nothing_counts_as_nothing() -> None:
    assert instantiate_all(None) == instantiate_all(OmegaConf.create({})) == []
    assert instantiate_all(GROUP) == [0]


def test_only_the_first_process_has_loggers(monkeypatch: pytest.MonkeyPatch) -> None:
    assert instantiate_loggers(GROUP) == [0]
    monkeypatch.setattr(rank_zero_only, "rank", 1)
    assert instantiate_loggers(GROUP) == []
