"""Work on several threads."""

import threading
from collections.abc import Iterator

import pytest
import torch

from src.exact_retrieval.search.threads import map_in_threads

CPU = torch.device("cpu")


@pytest.fixture(params=[1, 3])
def threads(request: pytest.FixtureRequest) -> Iterator[int]:
    before = torch.get_num_threads()
    torch.set_num_threads(request.param)
    yield request.param
    torch.set_num_threads(before)


def test_results_come_in_order(threads: int) -> None:
    first_may_end = threading.Event()

    def square(number: int) -> int:
        if threads > 1 and number == 0:
            assert first_may_end.wait(timeout=60)
        if number == 1:
            first_may_end.set()
        return number * number

    assert list(map_in_threads(square, range(10), CPU)) == [n * n for n in range(10)]


def test_each_part_has_one_thread(threads: int) -> None:
    assert set(map_in_threads(lambda _: torch.get_num_threads(), range(8), CPU)) == {1}
    assert torch.get_num_threads() == threads


@pytest.mark.parametrize("mode", [torch.no_grad, torch.enable_grad, torch.inference_mode])
def test_the_mode_is_that_of_the_caller(threads: int, mode: type) -> None:
    weight = torch.ones(2, requires_grad=True)
    with mode():
        shared, wanted = torch.zeros(8), (weight * 2).requires_grad

        def write(place: int) -> bool:
            shared[place] = place
            return (weight * 2).requires_grad

        assert set(map_in_threads(write, range(8), CPU)) == {wanted}
        assert shared.tolist() == list(range(8))


def test_an_error_comes_through(threads: int) -> None:
    def fail(number: int) -> int:
        if number == 3:
            raise ValueError("third")
        return number

    with pytest.raises(ValueError, match="third"):
        list(map_in_threads(fail, range(8), CPU))
    assert torch.get_num_threads() == threads


def test_no_part(threads: int) -> None:
    assert list(map_in_threads(len, [], CPU)) == []
    assert torch.get_num_threads() == threads
