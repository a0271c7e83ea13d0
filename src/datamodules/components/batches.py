"""Batches of images that threads read ahead of the network."""

from collections import deque
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor

from src.datamodules.components.image_set import ImageSet
from src.datamodules.components.samples import EmbeddedSample, Sample


class Batches:
    """The images at some positions of a set, in this order, batch by batch.

    Each thread reads one batch at a time. Decoders release Python's lock.

    Args:
        image_set: the set.
        positions: of the images in the set.
        batch_size: images in a batch; the last one may have fewer.
        threads: that read. Each is one batch ahead.
        pin_memory: whether the pixels are put into page-locked memory, for faster copies to a GPU.
    """

    def __init__(
        self,
        image_set: ImageSet,
        positions: Sequence[int],
        batch_size: int,
        threads: int,
        pin_memory: bool = False,
    ) -> None:
        self._set = image_set
        self._batches = [
            positions[start : start + batch_size] for start in range(0, len(positions), batch_size)
        ]
        self._threads = threads
        self._pin_memory = pin_memory

    def __len__(self) -> int:
        return len(self._batches)

    def __iter__(self) -> Iterator[Sample | EmbeddedSample]:
        pool = ThreadPoolExecutor(self._threads, thread_name_prefix="read-images")
        ahead: deque[Future[Sample | EmbeddedSample]] = deque()
        try:
            for batch in self._batches:
                ahead.append(pool.submit(self._set.read, batch, self._pin_memory))
                if len(ahead) > self._threads:
                    yield ahead.popleft().result()
            while ahead:
                yield ahead.popleft().result()
        finally:
            pool.shutdown(cancel_futures=True)
