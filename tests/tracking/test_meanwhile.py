import threading
from threading import Event
from typing import Any

import pytest

from src.tracking.meanwhile import opened_meanwhile


class Recorder:
    """Notes in which thread it was opened, and with what it was closed."""

    def __init__(self) -> None:
        self.opened_in = ""
        self.closed_with: list[Any] = []

    def __enter__(self) -> "Recorder":
        self.opened_in = threading.current_thread().name
        return self

    def __exit__(self, kind: Any, *_: Any) -> None:
        self.closed_with.append(kind)


def test_opened_in_a_thread_and_closed_at_the_end() -> None:
    recorder: Any = Recorder()
    with opened_meanwhile(lambda: recorder, Event()) as wait:
        assert wait() is recorder
        assert recorder.closed_with == []
    assert recorder.opened_in.startswith("open-run")
    assert recorder.closed_with == [None]


def test_it_is_not_opened_before_the_start() -> None:
    start, built = Event(), Event()

    def build() -> Any:
        assert start.is_set()
        built.set()
        return Recorder()

    with opened_meanwhile(build, start):
        assert not built.is_set()
        start.set()
        assert built.wait(60)  # without anybody who waits for the recorder


@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt, SystemExit])
def test_an_exception_closes_it_and_passes(error: type[BaseException]) -> None:
    recorder: Any = Recorder()
    with pytest.raises(error), opened_meanwhile(lambda: recorder, Event()):
        raise error
    assert recorder.closed_with == [error]


def fail() -> Any:
    raise OSError("no disk")


def test_what_fails_while_it_opens_is_raised_on_waiting() -> None:
    done = []
    with pytest.raises(OSError, match="no disk"), opened_meanwhile(fail, Event()) as wait:  # noqa: PT012
        done.append("embedding")
        wait()
    assert done == ["embedding"]


def test_what_fails_while_it_opens_does_not_bury_the_first_error() -> None:
    with pytest.raises(ValueError, match="first"), opened_meanwhile(fail, Event()):
        raise ValueError("first")
