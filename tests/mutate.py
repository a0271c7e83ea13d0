"""Change the library in small ways, one at a time, and show the changes that no test notices.

`python -m tests.mutate retrieval/measures.py statistics` changes a file and a folder of
`src/exact_retrieval`; without arguments it changes all of the library, which takes many hours. It
works in `.mutants`, and always from the start: mutmut would take files that an earlier run did not
change for files that need no change.

mutmut makes the changes. It refuses packages called `src`, so it gets a copy of the library under
the name by which it is packaged, and a copy of its tests. It forks a process for each change and
runs the tests that call the changed function. That misses functions that are called when a module
is imported, and tests that start processes. A change that it finds unnoticed is therefore tried
again, by all tests of the library, in a new process.
"""

import json
import os
import shutil
import subprocess
import sys
from collections import Counter
from pathlib import Path

from tests.conftest import ROOT

FOLDER = ROOT / ".mutants"

_LIBRARY = "exact_retrieval"
_MUTMUT = Path(sys.executable).with_name("mutmut")
_TESTS = ROOT / "tests" / _LIBRARY
_IN_OTHER_PROCESSES = [
    "metrics/test_distributed.py",
    "metrics/test_examples.py",
    "search/test_multiplication.py::test_a_saturating_library_is_found_out",
    "test_evaluation.py::test_needs_neither_pandas_nor_pyarrow",
]
_CONFTEST = """
from pathlib import Path

import jaxtyping
import pytest
import torch

torch.set_num_threads(1)
ROOT = Path(__file__).resolve().parents[1]


@pytest.fixture
def unchecked(monkeypatch):
    monkeypatch.setattr(jaxtyping.config, "jaxtyping_disable", True)
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
"""


def mutate(changed: list[str]) -> None:
    """Change files and folders of the library, print a table, and the changes not noticed."""
    _prepare(changed)
    subprocess.run([_MUTMUT, "run", "--max-children", "2"], cwd=FOLDER, check=True)
    outcomes = _outcomes()
    assert not _is_noticed_from_the_start("none"), "the tests should pass without a change"
    for changes in outcomes.values():
        for name in [name for name, outcome in changes.items() if outcome == "survived"]:
            if _is_noticed_from_the_start(name):
                changes[name] = "killed"
            else:
                subprocess.run([_MUTMUT, "show", name], cwd=FOLDER, check=True)
    print("\n" + _tabulate(outcomes))


def _is_noticed_from_the_start(name: str) -> bool:
    """Run all tests of the library in a process that has a change from its first import on."""
    tests = [sys.executable, "-m", "pytest", "-x", "-q", f"tests/{_LIBRARY}"]
    environment = os.environ | {"MUTANT_UNDER_TEST": name}
    done = subprocess.run(tests, cwd=FOLDER / "mutants", env=environment, stdout=subprocess.DEVNULL)
    return done.returncode != 0


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
        f"{'--ignore' if each.endswith('.py') else '--deselect'}=tests/{_LIBRARY}/{each}"
        for each in _IN_OTHER_PROCESSES
    ]
    configuration = _CONFIGURATION.format(
        library=_LIBRARY, changed=json.dumps(patterns), options=json.dumps(options)
    )
    own = (ROOT / "pyproject.toml").read_text()
    (FOLDER / "pyproject.toml").write_text(own + configuration)


def _copy(path: Path, target: Path) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    target.write_text(path.read_text().replace(f"src.{_LIBRARY}", _LIBRARY))


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
    rows = [f"| file | changes | {' | '.join(kinds)} |", "|---" * (2 + len(kinds)) + "|"]
    for file, by_name in outcomes.items():
        counts = Counter(by_name.values())
        if counts.keys() & {*kinds}:
            numbers = [counts.total(), *(counts[kind] for kind in kinds)]
            rows.append(f"| `{file}` | {' | '.join(map(str, numbers))} |")
    return "\n".join(rows)


if __name__ == "__main__":
    mutate(sys.argv[1:] or [""])
