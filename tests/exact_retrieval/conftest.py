import jaxtyping
import pytest


@pytest.fixture
def unchecked(monkeypatch: pytest.MonkeyPatch) -> None:
    """Accept arguments that the annotations forbid."""
    monkeypatch.setattr(jaxtyping.config, "jaxtyping_disable", True)
