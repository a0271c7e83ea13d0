import signal
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.faults.fault import Case, Fault, run


@pytest.fixture(autouse=True)
def _signals() -> Iterator[None]:
    """Restore what a command changes for good: it does not expect another one after it."""
    handlers = {each: signal.getsignal(each) for each in (signal.SIGTERM, signal.SIGINT)}
    yield
    for signum, handler in handlers.items():
        signal.signal(signum, handler)


@pytest.fixture
def case(tmp_path: Path, checkpoint: Path, prepared_data: Path) -> Iterator[Case]:
    case = Case(tmp_path, checkpoint, prepared_data)
    yield case
    for each in case.kept:
        each.close()


@pytest.fixture
def provoke(case: Case, capsys: pytest.CaptureFixture[str]) -> Callable[[Fault], str]:
    """Run the command of a fault on what the fault spoils, and return what the user sees."""

    def provoke(fault: Fault) -> str:
        overrides = fault.provoke(case) or ()
        seen = run(fault.task, case.compose(fault.task, *overrides), capsys)
        seen.check(fault)
        return seen.output

    return provoke
