from pathlib import Path

import pytest
from hydra.utils import instantiate

from src.utils.cli import exit_on_user_error


def leave(output_dir: Path, error: Exception) -> None:
    with exit_on_user_error(output_dir):
        raise error


def test_a_user_error_is_a_message_and_exit_code_1(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit, match=r"1"):
        leave(tmp_path / "run", ValueError("`k` should be positive, got 0"))
    shown = capsys.readouterr().err
    assert "Error: `k` should be positive, got 0\n" in shown
    assert "Traceback" not in shown
    assert "Traceback" in (tmp_path / "run" / "error.log").read_text()


def test_hydra_hands_on_what_the_class_said(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    config = {"_target_": "src.exact_retrieval.NearestNeighborAccuracy", "distance": "l1"}
    with pytest.raises(SystemExit, match=r"1"), exit_on_user_error(tmp_path):
        instantiate(config)
    assert "Error: `distance` should be one of" in capsys.readouterr().err


def test_an_error_from_a_worker_loses_its_traceback(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    text = "Caught ValueError in DataLoader worker process 0.\nTraceback ...\nValueError: bad file"
    with pytest.raises(SystemExit, match=r"1"):
        leave(tmp_path, ValueError(text))
    assert "Error: bad file\n" in capsys.readouterr().err


def test_a_bug_passes(tmp_path: Path) -> None:
    with pytest.raises(ZeroDivisionError, match=r"here"):
        leave(tmp_path, ZeroDivisionError("here"))


def test_another_rank_says_which_and_keeps_a_log_of_its_own(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LOCAL_RANK", "0")
    monkeypatch.setenv("RANK", "3")
    with pytest.raises(SystemExit, match=r"1"):
        leave(tmp_path, ValueError("bad file"))
    assert "Error of rank 3: bad file\n" in capsys.readouterr().err
    assert "Traceback" in (tmp_path / "error_rank_3.log").read_text()
