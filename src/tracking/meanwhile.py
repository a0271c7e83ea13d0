"""Open a run while the network runs: to import MLflow alone takes a second."""

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from threading import Event

from src.tracking.recorder import RunRecorder


@contextmanager
def opened_meanwhile(
    build: Callable[[], RunRecorder], start: Event
) -> Iterator[Callable[[], RunRecorder]]:
    """Build and open a recorder in a thread, and close it as the context ends.

    Args:
        build: makes the recorder.
        start: what the thread waits for; set also as soon as somebody waits for the recorder.

    Yields:
        A function that waits for the open recorder. It raises what `build` has raised.
    """

    def open_run() -> RunRecorder:
        start.wait()
        return build().__enter__()

    def wait() -> RunRecorder:
        start.set()
        return opening.result()

    with ThreadPoolExecutor(1, thread_name_prefix="open-run") as pool:
        opening = pool.submit(open_run)
        try:
            yield wait
        except BaseException as error:
            start.set()
            if opening.exception() is None:
                opening.result().__exit__(type(error), error, error.__traceback__)
            raise
        wait().__exit__(None, None, None)
