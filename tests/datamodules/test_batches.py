import threading
from typing import Any

import pytest

from src.datamodules.components.batches import Batches


class Numbers:
    """Stands for a set of images: a batch is the list of its positions."""

    def __init__(self, fails_at: int | None = None) -> None:
        self.read_by: list[str] = []
        self._fails_at = fails_at

    def read(self, indices: Any, pin_memory: bool) -> Any:
        self.read_by.append(threading.current_thread().name)
        if self._fails_at in indices:
            raise ValueError("broken")
        return list(indices)


@pytest.mark.parametrize("threads", [1, 3])
def test_all_images_once_in_order(threads: int) -> None:
    numbers: Any = Numbers()
    batches = Batches(numbers, range(1, 23, 2), 4, threads)
    assert list(batches) == [[1, 3, 5, 7], [9, 11, 13, 15], [17, 19, 21]]
    assert len(batches) == 3
    assert list(batches) == list(batches)
    assert threading.current_thread().name not in numbers.read_by
    assert list(Batches(numbers, range(0), 4, threads)) == []


def test_threads_read_ahead_but_not_far() -> None:
    numbers: Any = Numbers()
    batches = iter(Batches(numbers, range(100), 1, 2))
    next(batches)
    assert len(numbers.read_by) <= 3
    batches.close()  # type: ignore[attr-defined]
    assert not [each for each in threading.enumerate() if each.name.startswith("read-images")]


def test_an_error_arrives_with_its_batch() -> None:
    numbers: Any = Numbers(fails_at=5)
    batches = iter(Batches(numbers, range(8), 2, 2))
    assert [next(batches), next(batches)] == [[0, 1], [2, 3]]
    with pytest.raises(ValueError, match="broken"):
        next(batches)
    assert not [each for each in threading.enumerate() if each.name.startswith("read-images")]
