"""`python eval.py`, `train.py` and `compare.py`, as far as they are alike."""

import subprocess
import sys

import pytest

from tests.conftest import ROOT

TASKS = {
    "eval": "how well a checkpoint of a metric-learning network identifies",
    "train": "Trains a metric-learning network",
    "compare": "whether the candidate checkpoint is better than the baseline",
    "record": "Records a run later",
}


def run(task: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-X", "importtime", str(ROOT / f"{task}.py"), *arguments],
        capture_output=True,
        text=True,
        timeout=60,
    )


@pytest.mark.parametrize(("task", "purpose"), TASKS.items())
def test_help_describes_the_task_at_once(task: str, purpose: str) -> None:
    done = run(task, "--help")
    assert done.returncode == 0
    assert purpose in done.stdout
    assert f"python {task}.py" in done.stdout
    assert f"task_name: {task}" in done.stdout
    assert " torch\n" not in done.stderr


@pytest.mark.parametrize("task", TASKS)
def test_a_misspelt_option_is_refused_at_once(task: str) -> None:
    done = run(task, "extras.printconfig=true")
    assert done.returncode == 1
    assert "Could not override 'extras.printconfig'" in done.stderr
    assert "Traceback" not in done.stderr
    assert " torch\n" not in done.stderr
