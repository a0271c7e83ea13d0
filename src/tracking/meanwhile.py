"""Open a run while the network runs: to import MLflow alone takes a second."""

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

from src.tracking.recorder import RunRecorder


@contextmanager
def opened_meanwhile(build: Callable[[], RunRecorder]) -> Iterator[Callable[[], RunRecorder]]:
    """Build and open a recorder in a thread, and close it as the context ends.

    Args:
        build: makes the recorder.

    Yields:
        A function that waits for the open recorder. It raises what `build` has raised.
    """
    with ThreadPoolExecutor(1, thread_name_prefix="open-run") as pool:
        opening = pool.submit(lambda: build().__enter__())
        try:
            yield opening.result
        except BaseException as error:
            if opening.exception() is None:
                opening.result().__exit__(type(error), error, error.__traceback__)
            raise
        opening.result().__exit__(None, None, None)
