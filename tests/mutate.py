"""Change the library in small ways, one at a time, and show the changes that no test notices.

`python -m tests.mutate retrieval/measures.py statistics` changes a file and a folder of
`src/exact_retrieval`; without arguments it changes all of the library, which takes hours. What is
already known is kept in `.mutants`, so that another run does only what is new.

mutmut refuses packages called `src`. It gets a copy of the library under the name by which it is
packaged, and a copy of its tests, without those that run in other processes.
"""

import json
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
[tool.pytest.ini_options]
pythonpath = ["."]
filterwarnings = ["error"]

[tool.mutmut]
source_paths = ["{library}"]
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
    print("\n\n" + _tabulate(_outcomes()))
    for name in [
        name for file in _outcomes().values() for name in file if file[name] == "survived"
    ]:
        subprocess.run([_MUTMUT, "show", name], cwd=FOLDER, check=True)


def _prepare(changed: list[str]) -> None:
    """Write what mutmut works on."""
    for source, target in ((ROOT / "src" / _LIBRARY, _LIBRARY), (_TESTS, f"tests/{_LIBRARY}")):
        shutil.rmtree(FOLDER / target, ignore_errors=True)
        for path in source.rglob("*.py"):
            _copy(path, FOLDER / target / path.relative_to(source))
    _copy(ROOT / "tests" / "__init__.py", FOLDER / "tests" / "__init__.py")
    (FOLDER / "tests" / "conftest.py").write_text(_CONFTEST)
    patterns = [f"{_LIBRARY}/{each}{'' if each.endswith('.py') else '*'}" for each in changed]
    options = [
        f"{'--ignore' if each.endswith('.py') else '--deselect'}=tests/{_LIBRARY}/{each}"
        for each in _IN_OTHER_PROCESSES
    ]
    (FOLDER / "pyproject.toml").write_text(
        _CONFIGURATION.format(
            library=_LIBRARY,
            changed=json.dumps(patterns),
            options=json.dumps(["--doctest-modules", *options]),
        )
    )


def _copy(path: Path, target: Path) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    target.write_text(path.read_text().replace(f"src.{_LIBRARY}", _LIBRARY))
    shutil.copystat(path, target)  # by whose times mutmut knows what has changed


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
