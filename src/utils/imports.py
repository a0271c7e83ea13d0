"""Import large libraries in less time."""

import atexit
import gc
import sys
import types
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def loaded_later(*names: str) -> Iterator[None]:
    """Let libraries import parts of scipy without loading them.

    scipy loads its parts when they are first used, unless somebody imports them. torchmetrics and
    pytorch-metric-learning import two that take a second, for functions that nobody calls here.

    Args:
        names: of the parts, such as "scipy.stats". Those that are loaded stay as they are.
    """
    stand_ins = {name: types.ModuleType(name) for name in names if name not in sys.modules}
    for module in stand_ins.values():
        module.__getattr__ = lambda _: None  # type: ignore[method-assign]
    sys.modules.update(stand_ins)
    try:
        yield
    finally:
        for name in stand_ins:
            del sys.modules[name]


@contextmanager
def without_garbage_collection() -> Iterator[None]:
    """Spare imports the search for garbage among what they make, a fifth of their time.

    What the first of them made is not searched later either. Python then also ends sooner.
    """
    gc.disable()
    try:
        yield
    finally:
        if not gc.get_freeze_count():  # what a task left behind may be garbage
            gc.freeze()
            atexit.register(gc.freeze)
        gc.enable()
