"""Queries and references that are spread over processes, without repeats.

References stay on the process that embedded them. Queries travel, a block at a time: every process
gets the block, compares it with its own references, and the processes put together what each found.
"""

from collections.abc import Iterator
from dataclasses import replace
from typing import NamedTuple

import torch
from torch import Tensor

from .embedding_set import EmbeddingSet, block_length
from .processes import Processes

_DTYPES = [torch.float16, torch.bfloat16, torch.float32, torch.float64]
_NONE = -1


class Samples(NamedTuple):
    """Some samples of a set.

    Attributes:
        embedding: floating [N, D].
        index: int64 [N], position in the whole set.
        label: int64 [N].
        camera: int64 [N], -1 where unknown.
    """

    embedding: Tensor
    index: Tensor  # type: ignore[assignment]  # the field hides tuple.index
    label: Tensor
    camera: Tensor


class SpreadSets:
    """The distinct samples of both sets, over all processes.

    Where an index comes more than once, as from a padding sampler, the first copy on the lowest
    rank counts. Samples without indices (all -1) are numbered in order of rank and arrival. Making
    one, and every method but `references`, is a collective operation.

    Args:
        query: the queries of this process.
        reference: the references of this process.
        processes: who takes part.

    Attributes:
        processes: likewise.
        query_index, query_label, query_camera: int64 [Q] of the queries of all processes, in order
            of rank.

    Raises:
        ValueError: on every process, if there is no query or no reference at all, embeddings
            differ in width or dtype, only some have indices, or one index has two labels or
            cameras.
    """

    def __init__(self, query: EmbeddingSet, reference: EmbeddingSet, processes: Processes) -> None:
        self.processes = processes
        layout = _agree(query, reference, processes)
        if not layout.indexed:
            reference = _number(reference, layout.reference_counts, processes.rank)
            query = _number(query, layout.query_counts, processes.rank)
        self._no_rows = layout.no_rows
        self._query, self._reference = query, reference
        self._reference_rows = _distinct_rows(reference, processes)
        self._query_rows = _distinct_rows(query, processes)
        table = torch.stack([query.indices, query.labels, query.cameras], dim=1)
        shares = processes.ragged(table[self._query_rows])
        self.query_index, self.query_label, self.query_camera = torch.cat(shares).T.contiguous()
        self._query_counts = [len(share) for share in shares]

    def matches(self) -> Tensor:
        """How many references, of all processes, have the label of each query [Q]."""
        labels = self._reference.labels[self._reference_rows].sort().values
        below = torch.searchsorted(labels, self.query_label)
        count = torch.searchsorted(labels, self.query_label, right=True) - below
        return self.processes.total(count)

    def cameras_are_known(self) -> bool:
        """Whether all samples of all processes have a camera."""
        references = self._reference.cameras[self._reference_rows]
        unknown = (references < 0).sum() + (self.query_camera < 0).sum()
        return int(self.processes.total(unknown)) == 0

    def queries(self, length: int | None = None) -> Iterator[Samples]:
        """All queries, in blocks that every process gets.

        Args:
            length: of a block at most.
        """
        length = min(block_length(self._no_rows), length or len(self.query_index))
        columns = (self.query_index, self.query_label, self.query_camera)
        start = 0
        for index, label, camera in zip(*(c.split(length) for c in columns), strict=True):
            block = self._no_rows.new_empty((len(index), self._no_rows.shape[1]))
            self._spread(block, start)
            yield Samples(block, index, label, camera)
            start += len(block)

    def references(self) -> Iterator[Samples]:
        """The references of this process, in even blocks, each ascending by index."""
        rows = self._reference_rows
        blocks = round(len(rows) / block_length(self._no_rows)) or min(len(rows), 1)
        for part in rows.tensor_split(blocks) if blocks else ():
            embedding, ordered = self._reference.ordered(part)
            columns = (self._reference.indices, self._reference.labels, self._reference.cameras)
            yield Samples(embedding, *(column[ordered] for column in columns))
            del embedding  # before the next block is made

    def _spread(self, block: Tensor, start: int) -> None:
        """Fill a block [B, D] with all processes' queries from `start` on, in order of rank."""
        first = -start  # where in the block a rank's queries begin
        for rank, count in enumerate(self._query_counts):
            low, high = max(first, 0), min(first + count, len(block))
            if low < high:
                part = block[low:high]
                if rank == self.processes.rank:
                    part.copy_(self._query.take(self._query_rows[low - first : high - first]))
                self.processes.broadcast(part, rank)
            first += count


class _Layout(NamedTuple):
    """What all processes know of each other's samples before the search."""

    query_counts: list[int]
    reference_counts: list[int]
    indexed: bool
    no_rows: Tensor  # [0, D], of the dtype of all embeddings


def _agree(query: EmbeddingSet, reference: EmbeddingSet, processes: Processes) -> _Layout:
    """Check on all processes alike that their samples go together."""
    device = query.labels.device
    header = processes.attempt(lambda: torch.tensor(_header(query, reference), device=device))
    headers = processes.stack(header).tolist()
    query_counts, reference_counts, *_ = map(list, zip(*headers, strict=True))
    for name, counts in (("reference", reference_counts), ("query", query_counts)):
        if sum(counts) == 0:
            raise ValueError(
                f"`{name}` should hold at least one sample, got none: call `update` with "
                f"`is_query={name == 'query'}` before `compute`"
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
    """Numbers of queries and references, width, code of the dtype, whether there are indices."""
    batches = [*reference.batches, *query.batches]
    if not batches:
        return [0, 0, 0, 0, 0]
    dtype, *others = sorted({batch.dtype for batch in batches}, key=str)
    if others or dtype not in _DTYPES:
        expected, got = (", ".join(map(str, dtypes)) for dtypes in (_DTYPES, [dtype, *others]))
        raise ValueError(f"`embeddings` should be of one dtype among {expected}, got {got}")
    samples = reference if len(reference) else query
    indexed = int(samples.indices[0] != _NONE)
    return [len(query), len(reference), batches[0].shape[1], _DTYPES.index(dtype), indexed]


def _number(samples: EmbeddingSet, counts: list[int], rank: int) -> EmbeddingSet:
    start = sum(counts[:rank])
    indices = torch.arange(start, start + len(samples), device=samples.labels.device)
    return replace(samples, indices=indices)


def _distinct_rows(samples: EmbeddingSet, processes: Processes) -> Tensor:
    """Rows of this process that are no repeats, ascending.

    One process judges all copies of an index, wherever they are; which one, the index tells. So
    none has to know more than its share.
    """
    judge = samples.indices % processes.size
    order = judge.argsort(stable=True)
    sent = torch.bincount(judge, minlength=processes.size)
    received = processes.stack(sent)[:, processes.rank].tolist()
    columns = torch.stack([samples.indices, samples.labels, samples.cameras], dim=1)[order]
    arrived = processes.exchange(columns, sent.tolist(), received)
    first = processes.attempt(lambda: _first_copies(samples.name, arrived))
    kept = torch.empty_like(judge, dtype=torch.uint8)
    kept[order] = processes.exchange(first.byte(), received, sent.tolist())
    return kept.nonzero()[:, 0]


def _first_copies(name: str, columns: Tensor) -> Tensor:
    """Tell first copies from repeats, by columns [N, 3] of index, label and camera."""
    order = columns[:, 0].argsort(stable=True)
    ordered = columns[order]
    differs = ordered[1:] != ordered[:-1]
    repeat = ~differs[:, 0]
    for position, column in ((1, "label"), (2, "camera")):
        wrong = (repeat & differs[:, position]).nonzero()[:, 0]
        if len(wrong):
            first, second = ordered[wrong[0] : wrong[0] + 2].tolist()
            raise ValueError(
                f"`indices` should name one {name} sample each, got index {first[0]} "
                f"with {column} {first[position]} and with {column} {second[position]}"
            )
    kept = torch.ones(len(columns), dtype=torch.bool, device=columns.device)
    kept[order[1:]] = ~repeat
    return kept
