import pytest
from omegaconf import OmegaConf
from pytorch_lightning.callbacks import Timer
from pytorch_lightning.utilities import rank_zero_only

from src.utils.instantiation import build_callbacks, instantiate_loggers

LOGGERS = OmegaConf.create({"one": {"_target_": "builtins.int"}, "other": None})
TIMER = {"_target_": "pytorch_lightning.callbacks.Timer"}


@pytest.mark.parametrize("callbacks", [{}, {"callbacks": None}, {"callbacks": {"one": None}}])
def test_nothing_counts_as_nothing(callbacks: dict[str, object]) -> None:
    assert build_callbacks(OmegaConf.create(callbacks)) == []


def test_callbacks() -> None:
    (timer,) = build_callbacks(OmegaConf.create({"callbacks": {"one": TIMER, "other": None}}))
    assert isinstance(timer, Timer)


def test_only_the_first_process_has_loggers(monkeypatch: pytest.MonkeyPatch) -> None:
    assert instantiate_loggers(LOGGERS) == [0]
    monkeypatch.setattr(rank_zero_only, "rank", 1)
    assert instantiate_loggers(LOGGERS) == []
