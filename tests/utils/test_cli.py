import subprocess
import sys
import warnings
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from hydra.utils import instantiate
from omegaconf import DictConfig, OmegaConf

from src.utils.cli import run_task
from tests.conftest import ROOT

WORKER = "Caught ValueError in DataLoader worker process 0.\nTraceback ...\nValueError: bad file"
ERRORS = {
    "`k` should be positive, got 0": ValueError("`k` should be positive, got 0"),
    "bad file": ValueError(WORKER),
    "no disk": OSError("no disk"),
    "a bug": ZeroDivisionError("a bug"),
}


def fail(cfg: DictConfig) -> None:
    raise ERRORS[cfg.error]


def misconfigure(_: DictConfig) -> None:
    instantiate({"_target_": "src.exact_retrieval.NearestNeighborAccuracy", "distance": "l1"})


def finish(cfg: DictConfig) -> tuple[dict[str, float], dict[str, Any]]:
    return {}, {"recorder": SimpleNamespace(failures=cfg.failures)}


def run(task: Any, output_dir: Path, **values: object) -> None:
    cfg = OmegaConf.create({"paths": {"output_dir": str(output_dir)}, **values})
    run_task(f"{__name__}.{task.__name__}", cfg)


@pytest.mark.parametrize("message", list(ERRORS)[:3])
def test_a_user_error_is_a_message_and_exit_code_1(tmp_path: Path, message: str) -> None:
    with pytest.raises(SystemExit) as exited:
        run(fail, tmp_path / "run", error=message)
    log = tmp_path / "run" / "error.log"
    assert exited.value.code == f"\nError: {message}\n(traceback: {log})"
    assert "Traceback" in log.read_text()


@pytest.mark.usefixtures("unchecked")
def test_hydra_hands_on_what_the_class_said(tmp_path: Path) -> None:
    with pytest.raises(SystemExit, match=r"Error: `distance` should be one of"):
        run(misconfigure, tmp_path)


def test_a_bug_passes(tmp_path: Path) -> None:
    with pytest.raises(ZeroDivisionError, match=r"a bug"):
        run(fail, tmp_path, error="a bug")


def test_another_rank_says_which_and_keeps_a_log_of_its_own(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LOCAL_RANK", "0")
    monkeypatch.setenv("RANK", "3")
    with pytest.raises(SystemExit, match=r"Error of rank 3: bad file"):
        run(fail, tmp_path, error="bad file")
    assert "Traceback" in (tmp_path / "error_rank_3.log").read_text()


def test_a_failed_logger_is_exit_code_1(tmp_path: Path) -> None:
    run(finish, tmp_path, failures=[])
    with pytest.raises(SystemExit, match=r"^1$"):
        run(finish, tmp_path, failures=["MLFlowLogger: no route to host"])


def warn(cfg: DictConfig) -> tuple[dict[str, float], dict[str, Any]]:
    warnings.warn("3 of 7 images are resized.", stacklevel=1)
    return {}, {"recorder": SimpleNamespace(failures=[])}


def test_a_warning_is_a_sentence(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("always")
        run(warn, tmp_path)
    assert capsys.readouterr().err == "Warning: 3 of 7 images are resized.\n"


def test_imports_leave_nothing_behind(tmp_path: Path) -> None:
    """In a process of its own: this one has imported everything long ago."""
    code = (
        "import gc, sys\n"
        "from omegaconf import OmegaConf\n"
        "from src.utils.cli import run_task\n"
        "cfg = OmegaConf.create({'paths': {'output_dir': sys.argv[1]}, 'baseline': None})\n"
        "try:\n"
        "    run_task('src.compare.compare', cfg)\n"
        "except SystemExit:\n"
        "    pass\n"
        "assert gc.isenabled()\n"
        "assert 'torchmetrics' in sys.modules\n"
        "assert not {'mlflow', 'scipy.signal', 'scipy.stats'} & sys.modules.keys()\n"
        "import scipy.signal\n"
        "assert scipy.signal.convolve([1, 2], [1]).tolist() == [1, 2]\n"
    )
    command = [sys.executable, "-c", code, str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT)
    assert done.returncode == 0, done.stderr
