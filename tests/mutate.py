"""Change the library in small ways, one at a time, and show the changes that no test notices.

`python -m tests.mutate retrieval/measures.py statistics` changes a file and a folder of
`src/exact_retrieval`; without arguments it changes all of the library, which takes many hours.
`--sample 20` tries 20 changes of each file, and always the same ones. It works in `.mutants`, and
always from the start: mutmut would take files that an earlier run did not change for files that
need no change.

mutmut makes the changes. It refuses packages called `src`, so it gets a copy of the library under
the name by which it is packaged, and a copy of its tests. It forks a process for each change and
runs the tests that call the changed function. That misses tests that start processes, and functions
that are called when their module is imported. A change that it finds unnoticed is therefore tried
again in a new process, by the tests that may notice it there.
"""

import argparse
import json
import os
import random
import re
import shutil
import signal
import subprocess
import sys
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from tests.conftest import ROOT

FOLDER = ROOT / ".mutants"

_LIBRARY = "exact_retrieval"
_MUTMUT = Path(sys.executable).with_name("mutmut")
_TESTS = ROOT / "tests" / _LIBRARY
_DISTRIBUTED = "metrics/test_distributed.py"
_SATURATING = "search/test_multiplication.py::test_a_saturating_library_is_found_out"
_IN_OTHER_PROCESSES = (
    _DISTRIBUTED,
    _SATURATING,
    "metrics/test_examples.py",
    "test_evaluation.py::test_needs_neither_pandas_nor_pyarrow",
)
_AGAIN = {
    "retrieval/measures.py": "metrics/test_embedding_retrieval.py",  # calls functions on import
    "search/multiplication.py": _SATURATING,
}
_SECONDS = 300
_CONFTEST = """
import json
from pathlib import Path

import hypothesis
import jaxtyping
import pytest
import torch

hypothesis.settings.register_profile("no_shrinking", phases=tuple(hypothesis.Phase)[:3])
hypothesis.settings.load_profile("no_shrinking")
torch.set_grad_enabled(False)
torch.set_num_threads(1)
ROOT = Path(__file__).resolve().parents[1]


@pytest.fixture
def unchecked(monkeypatch):
    monkeypatch.setattr(jaxtyping.config, "jaxtyping_disable", True)


def pytest_collection_modifyitems(items):
    stats = ROOT / "mutmut-stats.json"
    if stats.exists():
        seconds = json.loads(stats.read_text())["duration_by_test"]
        items.sort(key=lambda item: seconds.get(item.nodeid, 0))  # fast tests notice most
"""
_CONFIGURATION = """
[tool.mutmut]
source_paths = ["{library}"]
also_copy = ["README.md"]
only_mutate = {changed}
pytest_add_cli_args_test_selection = ["tests", "{library}"]
pytest_add_cli_args = {options}
process_isolation = "forkserver"
use_git_change_detection = false
track_dependencies = false
timeout_constant = 15
timeout_multiplier = 4
"""


def mutate(changed: list[str], sample: int | None, jobs: int) -> None:
    """Change files and folders of the library, print a table, and the changes not noticed."""
    _prepare(changed)
    run = [_MUTMUT, "run", "--max-children", str(jobs)]
    if sample:
        # mutmut has no command that only makes the changes. This one ends after it, with an error.
        subprocess.run([*run, "none"], cwd=FOLDER, stderr=subprocess.DEVNULL)
        run += _draw(sample)
    subprocess.run(run, cwd=FOLDER, check=True)
    outcomes = _outcomes()
    survivors = [
        (file, name, _tests_to_try_again(file))
        for file, changes in outcomes.items()
        for name, outcome in changes.items()
        if outcome in ("survived", "no tests")
    ]
    for tests in {tests for *_, tests in survivors}:
        assert not _is_noticed_by(tests, "none"), "the tests should pass without a change"
    with ThreadPoolExecutor(jobs) as pool:
        noticed = pool.map(lambda survivor: _is_noticed_by(survivor[2], survivor[1]), survivors)
    for (file, name, _), is_noticed in zip(survivors, noticed, strict=True):
        if is_noticed:
            outcomes[file][name] = "killed"
        else:
            subprocess.run([_MUTMUT, "show", name], cwd=FOLDER, check=True)
    print("\n" + _tabulate(outcomes))


def _draw(count: int) -> list[str]:
    """Draw changes of each file."""
    return [
        name
        for file, changes in _outcomes().items()
        for name in random.Random(file).sample(sorted(changes), min(count, len(changes)))
    ]


def _tests_to_try_again(file: str) -> tuple[str, ...]:
    """Name the tests that may notice a change of a file in a new process alone."""
    tests = (_AGAIN[file],) if file in _AGAIN else ()
    is_distributed = "process" in (FOLDER / _LIBRARY / file).read_text()
    return (*tests, _DISTRIBUTED) if is_distributed else tests


def _is_noticed_by(tests: tuple[str, ...], name: str) -> bool:
    """Run tests in a new process, with a change from its start on; a hang is noticed, too."""
    if not tests:
        return False
    options = ["-x", "-q", "-k", "not 1_processes and not 4_processes"]
    process = subprocess.Popen(
        [sys.executable, "-m", "pytest", *options, *(f"tests/{_LIBRARY}/{test}" for test in tests)],
        cwd=FOLDER / "mutants",
        env=os.environ | {"MUTANT_UNDER_TEST": name},
        stdout=subprocess.DEVNULL,
        start_new_session=True,
    )
    try:
        return process.wait(_SECONDS) != 0
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        return True


def _prepare(changed: list[str]) -> None:
    """Write what mutmut works on."""
    shutil.rmtree(FOLDER, ignore_errors=True)
    for source, target in ((ROOT / "src" / _LIBRARY, _LIBRARY), (_TESTS, f"tests/{_LIBRARY}")):
        for path in source.rglob("*.py"):
            _copy(path, FOLDER / target / path.relative_to(source))
    for name in ("README.md", "tests/__init__.py"):
        _copy(ROOT / name, FOLDER / name)
    (FOLDER / "tests" / "conftest.py").write_text(_CONFTEST)
    patterns = [f"{_LIBRARY}/{each}{'' if each.endswith('.py') else '*'}" for each in changed]
    options = [
        f"{'--ignore' if test.endswith('.py') else '--deselect'}=tests/{_LIBRARY}/{test}"
        for test in _IN_OTHER_PROCESSES
    ]
    configuration = _CONFIGURATION.format(
        library=_LIBRARY, changed=json.dumps(patterns), options=json.dumps(options)
    )
    own = (ROOT / "pyproject.toml").read_text()
    (FOLDER / "pyproject.toml").write_text(own + configuration)


def _copy(path: Path, target: Path) -> None:
    """Copy a file without a decorator, since mutmut does not change decorated functions."""
    text = path.read_text().replace(f"src.{_LIBRARY}", _LIBRARY)
    target.parent.mkdir(parents=True, exist_ok=True)
    target.write_text(re.sub(r"^ *@torch\.no_grad\(\)\n", "", text, flags=re.MULTILINE))


def _outcomes() -> dict[str, dict[str, str]]:
    """Return the outcome of every change, by the files that were changed."""
    from mutmut.stats import status_by_exit_code

    folder = FOLDER / "mutants" / _LIBRARY
    return {
        str(path.relative_to(folder).with_suffix("")): {
            name: status_by_exit_code[code]
            for name, code in json.loads(path.read_text())["exit_code_by_key"].items()
        }
        for path in sorted(folder.rglob("*.meta"))
    }


def _tabulate(outcomes: dict[str, dict[str, str]]) -> str:
    """Write a table of the numbers of changes in each file that have each outcome."""
    kinds = ("killed", "timeout", "survived", "no tests")
    rows = [f"| file | changes | tried | {' | '.join(kinds)} |", "|---" * (3 + len(kinds)) + "|"]
    for file, by_name in outcomes.items():
        counts = Counter(by_name.values())
        numbers = [counts[kind] for kind in kinds]
        if tried := sum(numbers):
            numbers = [counts.total(), tried, *numbers]
            rows.append(f"| `{file}` | {' | '.join(map(str, numbers))} |")
    return "\n".join(rows)


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("changed", nargs="*", default=[""])
    parser.add_argument("--sample", type=int)
    parser.add_argument("--jobs", type=int, default=2)
    mutate(**vars(parser.parse_args()))
