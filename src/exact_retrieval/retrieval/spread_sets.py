"""Queries and references that are spread over processes, without repeats.

References stay on the process that embedded them. Queries travel, a block at a time: every process
receives the block and compares it with its own references, and then the results are merged.
"""

from collections.abc import Iterator
from dataclasses import replace
from typing import NamedTuple

import torch
from jaxtyping import Float, Float64, Int64
from torch import Tensor

from .embedding_set import EmbeddingSet
from .processes import Processes

# As a share of the norm. In bfloat16, ResNet-18's embeddings are off by up to 3.5 %, in float32 by
# 1e-6. Of the other images of a person by the same camera, 99 % differ by more than a quarter.
_TOLERANCE = 0.25

BLOCK_BYTES = 16 * 2**20
_LEAST_BYTES = 4  # that a number takes when it is compared: float16 becomes float32
_ROWS = 2**18  # whose labels are sorted at once

_DTYPES = [torch.float16, torch.bfloat16, torch.float32, torch.float64]
_NONE = -1


class MissingSamplesError(ValueError):
    """No process has a sample of a set."""


class Samples(NamedTuple):
    """Some samples of a set.

    Attributes:
        embedding: as given.
        index: position in the whole set.
        label: the identity.
        camera: -1 where unknown.
    """

    embedding: Float[Tensor, "N D"]
    index: Int64[Tensor, " N"]  # type: ignore[assignment]  # the field hides tuple.index
    label: Int64[Tensor, " N"]
    camera: Int64[Tensor, " N"]


class SpreadSets:
    """The distinct samples of both sets, over all processes.

    Of samples with one index, as a padding sampler repeats them, the first on the lowest rank
    counts. They have to be one sample: labels and cameras are equal, and embeddings differ by at
    most a quarter of their norm, far more than rounding in another batch explains. Samples without
    indices (all -1) are numbered in order of rank and arrival. The constructor and all methods but
    `references` are collective operations: every process calls them, in the same order.

    Args:
        query: the queries of this process.
        reference: the references of this process.
        processes: who takes part.
        block_bytes: size of the blocks of queries at most, as they are compared; blocks of
            references have up to twice that. The results do not depend on it.

    Attributes:
        processes: likewise.
        query_index: of the queries of all processes, in order of rank.
        query_label: likewise.
        query_camera: likewise.

    Raises:
        ValueError: on every process, if there is no query or no reference at all, embeddings
            differ in width or dtype, only some have indices, or samples with one index differ.
    """

    query_index: Int64[Tensor, " Q"]
    query_label: Int64[Tensor, " Q"]
    query_camera: Int64[Tensor, " Q"]

    def __init__(
        self,
        query: EmbeddingSet,
        reference: EmbeddingSet,
        processes: Processes,
        *,
        block_bytes: int = BLOCK_BYTES,
    ) -> None:
        self.processes = processes
        layout = _agree(query, reference, processes)
        if not layout.indexed:
            reference = _number(reference, layout.reference_counts, processes.rank)
            query = _number(query, layout.query_counts, processes.rank)
        self._no_rows = layout.no_rows
        entry_bytes = max(self._no_rows.element_size(), _LEAST_BYTES)
        self._block_length = max(block_bytes // (self._no_rows.shape[1] * entry_bytes), 1)
        self._query, self._reference = query, reference
        self._reference_rows = _distinct_rows(reference, processes)
        self._query_rows = _distinct_rows(query, processes)
        table = torch.stack([query.indices, query.labels, query.cameras], dim=1)
        shares = processes.ragged(table[self._query_rows])
        self.query_index, self.query_label, self.query_camera = torch.cat(shares).T.contiguous()
        self._query_counts = [len(share) for share in shares]

    def matches(self) -> Int64[Tensor, " Q"]:
        """Count each query's matches, the references of its identity, over all processes."""
        count = torch.zeros_like(self.query_label)
        for rows in self._reference_rows.split(_ROWS):
            labels = self._reference.labels[rows].sort().values
            count += torch.searchsorted(labels, self.query_label, right=True)
            count -= torch.searchsorted(labels, self.query_label)
        return self.processes.total(count)

    def cameras_are_known(self) -> bool:
        """Tell whether every sample has a camera, over all processes."""
        references = self._reference.cameras[self._reference_rows]
        unknown = (references < 0).sum() + (self.query_camera < 0).sum()
        return int(self.processes.total(unknown)) == 0

    def queries(self, length: int | None = None) -> Iterator[Samples]:
        """Yield all queries, in blocks that every process receives.

        Args:
            length: the most queries of a block, where memory allows them; None for no limit.
        """
        length = min(self._block_length, length or len(self.query_index))
        columns = (self.query_index, self.query_label, self.query_camera)
        start = 0
        for index, label, camera in zip(*(c.split(length) for c in columns), strict=True):
            block = self._no_rows.new_empty((len(index), self._no_rows.shape[1]))
            self._spread(block, start)
            yield Samples(block, index, label, camera)
            start += len(block)

    def references(self) -> Iterator[Samples]:
        """Yield the references of this process, in even blocks, each ascending by index."""
        rows = self._reference_rows
        blocks = len(rows) // self._block_length or min(len(rows), 1)
        for part in rows.tensor_split(blocks) if blocks else ():
            embedding, ordered = self._reference.ordered(part)
            columns = (self._reference.indices, self._reference.labels, self._reference.cameras)
            yield Samples(embedding, *(column[ordered] for column in columns))
            del embedding  # before the next block is made

    def _spread(self, block: Float[Tensor, "B D"], start: int) -> None:
        """Fill a block with the queries of all processes from `start` on, in order of rank."""
        first = -start  # where in the block the queries of a rank begin
        for rank, count in enumerate(self._query_counts):
            low, high = max(first, 0), min(first + count, len(block))
            if low < high:
                part = block[low:high]
                if rank == self.processes.rank:
                    part.copy_(self._query.take(self._query_rows[low - first : high - first]))
                self.processes.broadcast(part, rank)
            first += count


class _Layout(NamedTuple):
    """What every process knows of the samples of all."""

    query_counts: list[int]
    reference_counts: list[int]
    indexed: bool
    no_rows: Float[Tensor, "0 D"]  # of the dtype and width of all embeddings


def _agree(query: EmbeddingSet, reference: EmbeddingSet, processes: Processes) -> _Layout:
    """Check that the samples of all processes can be compared, with the same outcome on each."""
    device = query.labels.device
    header = processes.attempt(lambda: torch.tensor(_header(query, reference), device=device))
    headers = processes.stack(header).tolist()
    query_counts, reference_counts, *_ = map(list, zip(*headers, strict=True))
    for name, counts in (("reference", reference_counts), ("query", query_counts)):
        if sum(counts) == 0:
            raise MissingSamplesError(
                f"`{name}` should hold at least one sample, got none: call `update` with "
                f"`is_query={name == 'query'}` before `compute`. Lightning computes a metric that "
                "`test_step` logs after each dataloader: log it in `on_test_epoch_end`"
            )
    filled = [header[2:] for header in headers if header[0] or header[1]]
    widths, dtypes, indexed = (sorted(set(column)) for column in zip(*filled, strict=True))
    if len(widths) > 1:
        raise ValueError(f"`embeddings` should have one width on all ranks, got {widths}")
    if len(dtypes) > 1:
        found = ", ".join(str(_DTYPES[code]) for code in dtypes)
        raise ValueError(f"`embeddings` should be of one dtype on all ranks, got {found}")
    if len(indexed) > 1:
        raise ValueError("`indices` should be given on all ranks or on none, got them on some")
    no_rows = torch.empty((0, widths[0]), dtype=_DTYPES[dtypes[0]], device=device)
    return _Layout(query_counts, reference_counts, bool(indexed[0]), no_rows)


def _header(query: EmbeddingSet, reference: EmbeddingSet) -> list[int]:
    """Return the numbers of queries and references, width, dtype as a code, and if indexed."""
    batches = [*reference.batches, *query.batches]
    if not batches:
        return [0, 0, 0, 0, 0]
    dtype, *others = sorted({batch.dtype for batch in batches}, key=str)
    if others or dtype not in _DTYPES:
        expected, got = (", ".join(map(str, dtypes)) for dtypes in (_DTYPES, [dtype, *others]))
        raise ValueError(f"`embeddings` should be of one dtype among {expected}, got {got}")
    widths = sorted({batch.shape[1] for batch in batches})
    if len(widths) > 1:
        raise ValueError(f"`embeddings` should have one width, got {widths}")
    indexed = torch.cat([reference.indices, query.indices]) != _NONE
    if indexed.any() and not indexed.all():
        raise ValueError("`indices` should be given for every batch or for none, got them for some")
    return [len(query), len(reference), widths[0], _DTYPES.index(dtype), int(indexed[0])]


def _number(samples: EmbeddingSet, counts: list[int], rank: int) -> EmbeddingSet:
    start = sum(counts[:rank])
    indices = torch.arange(start, start + len(samples), device=samples.labels.device)
    return replace(samples, indices=indices)


def _distinct_rows(samples: EmbeddingSet, processes: Processes) -> Int64[Tensor, " R"]:
    """Return this process's rows without repeats, ascending.

    The index of a sample names the process that compares all its copies, so that no process has
    to know more than its share.
    """
    if processes.size == 1 and (samples.indices.diff() > 0).all():
        return torch.arange(len(samples), device=samples.indices.device)
    judge = samples.indices % processes.size
    order = judge.argsort(stable=True)
    sent = torch.bincount(judge, minlength=processes.size)
    received = processes.stack(sent)[:, processes.rank].tolist()
    facts = torch.stack([samples.indices, samples.labels, samples.cameras], dim=1)[order]
    facts = processes.exchange(facts, sent.tolist(), received)
    rows = facts[:, 0].argsort(stable=True)
    repeat = 1 + (facts[rows, 0].diff() == 0).nonzero()[:, 0]
    processes.attempt(lambda: _compare_facts(samples.name, facts[rows], repeat))
    if int(processes.total(torch.tensor(len(repeat), device=judge.device))):
        sketches = processes.exchange(samples.sketches()[order], sent.tolist(), received)
        processes.attempt(
            lambda: _compare_sketches(samples.name, facts[rows, 0], sketches[rows], repeat)
        )
    first = torch.ones_like(rows, dtype=torch.uint8)
    first[rows[repeat]] = 0
    kept = torch.empty_like(judge, dtype=torch.uint8)
    kept[order] = processes.exchange(first, received, sent.tolist())
    return kept.nonzero()[:, 0]


def _compare_facts(
    name: str, facts: Int64[Tensor, "N 3"], repeat: Int64[Tensor, " repeats"]
) -> None:
    """Refuse samples with one index that differ in label or camera.

    Args:
        name: of the set.
        facts: index, label and camera of each sample, by ascending index.
        repeat: the rows that have the index of the row before.
    """
    for position, column in ((1, "label"), (2, "camera")):
        wrong = repeat[facts[repeat, position] != facts[repeat - 1, position]]
        if len(wrong):
            first, second = facts[wrong[0] - 1 : wrong[0] + 1].tolist()
            got = f"{column} {first[position]} and with {column} {second[position]}"
            raise _not_one_sample(name, first[0], got)


def _compare_sketches(
    name: str,
    indices: Int64[Tensor, " N"],
    sketches: Float64[Tensor, "N S"],
    repeat: Int64[Tensor, " repeats"],
) -> None:
    """Refuse samples with one index whose embeddings differ, likewise."""
    some, others = sketches[repeat - 1], sketches[repeat]
    distance = torch.linalg.vector_norm((some - others)[:, :-1], dim=1)
    wrong = repeat[distance > _TOLERANCE * torch.maximum(some[:, -1], others[:, -1])]
    if len(wrong):
        raise _not_one_sample(name, int(indices[wrong[0]]), "two different embeddings")


def _not_one_sample(name: str, index: int, got: str) -> ValueError:
    return ValueError(
        f"`indices` should name one {name} sample each, got index {index} with {got}: give each "
        "sample its position in the whole set, not in its batch"
    )
