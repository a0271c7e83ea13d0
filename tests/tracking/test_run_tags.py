import subprocess
from pathlib import Path

import pytest
from hydra import compose, initialize
from hydra.core.hydra_config import HydraConfig
from hydra.core.singleton import Singleton
from hydra.types import RunMode
from omegaconf import open_dict

from src.tracking.run_tags import describe_run, git_commit, multirun_tags


def test_tags_and_counts(tmp_path: Path) -> None:
    described = describe_run(tmp_path, ["small", 1], {"query_images": 5})
    assert described == {"git_commit": "unknown", "tags": "small,1", "query_images": "5"}
    assert describe_run(tmp_path, None, {}) == {"git_commit": "unknown"}


def test_git_commit(tmp_path: Path) -> None:
    def git(*arguments: str) -> str:
        identity = ["-c", "user.name=n", "-c", "user.email=e"]
        command = ["git", "-C", str(tmp_path), *identity, *arguments]
        return subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()

    assert git_commit(tmp_path) == "unknown"
    git("init")
    (tmp_path / "file").write_text("one")
    git("add", "file")
    git("commit", "-m", "first")
    assert git_commit(tmp_path) == git("rev-parse", "HEAD")
    (tmp_path / "file").write_text("two")
    assert git_commit(tmp_path) == git("rev-parse", "HEAD") + "+changes"


@pytest.mark.parametrize(
    ("mode", "expected"),
    [(RunMode.RUN, {}), (RunMode.MULTIRUN, {"multirun": "sweep", "overrides": "model.k=3 seed=1"})],
)
def test_multirun_tags(
    monkeypatch: pytest.MonkeyPatch, mode: RunMode, expected: dict[str, str]
) -> None:
    monkeypatch.setattr(Singleton, "_instances", {**Singleton._instances})
    Singleton._instances.pop(HydraConfig, None)
    assert multirun_tags() == {}
    with initialize(version_base="1.3", config_path="../../configs"):
        options = ["model.k=3", "seed=1"]
        cfg = compose("eval.yaml", return_hydra_config=True, overrides=options)
    with open_dict(cfg):
        cfg.hydra.mode, cfg.hydra.sweep.dir = mode, "sweep"
    HydraConfig.instance().set_config(cfg)
    assert multirun_tags() == expected
