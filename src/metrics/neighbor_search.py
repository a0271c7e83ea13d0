"""The nearest reference of every query, over sets that are spread over processes.

References stay on the process that embedded them. Queries travel, a block at a time: every process
searches its own references for the nearest to each query of the block, and the winners of all
processes are compared by similarity and index. So the result is that of one process that holds
everything, bit for bit.
"""

from dataclasses import replace
from typing import NamedTuple

import torch
from torch import Tensor

from src.metrics.embedding_set import EmbeddingSet, block_length
from src.metrics.functional.neighbors import Neighbors, merge_neighbors
from src.metrics.functional.scoring import Distance
from src.metrics.functional.search import nearest_references
from src.metrics.processes import Processes

_DTYPES = [torch.float16, torch.bfloat16, torch.float32, torch.float64]
_NONE = -1


class NearestReferences(NamedTuple):
    """The nearest reference of each query, the queries in ascending order of index.

    Attributes:
        query_label: int64 tensor [Q].
        matches: int64 tensor [Q], how many references have the label of the query.
        similarity: float64 tensor [Q], `-inf` where no reference is allowed.
        index: int64 tensor [Q] of the nearest reference, -1 where none is allowed.
        label: int64 tensor [Q] of the nearest reference, -1 where none is allowed.
    """

    query_label: Tensor
    matches: Tensor
    similarity: Tensor
    index: Tensor  # type: ignore[assignment]  # the field hides tuple.index
    label: Tensor


class _Layout(NamedTuple):
    """What all processes know of each other's samples before the search."""

    query_counts: list[int]
    reference_counts: list[int]
    indexed: bool
    no_rows: Tensor  # [0, D], of the dtype of all embeddings


@torch.no_grad()
def find_nearest(
    query: EmbeddingSet,
    reference: EmbeddingSet,
    *,
    distance: Distance,
    leave_one_out: bool,
    processes: Processes,
) -> NearestReferences:
    """Find the nearest of all processes' references for all processes' queries.

    Where an index comes more than once, as from a padding sampler, the first copy on the lowest
    rank counts. Samples without indices (all -1) are numbered in order of rank and arrival.

    Args:
        query: the queries of this process.
        reference: the references of this process.
        distance: what to rank by.
        leave_one_out: whether a query's nearest reference is one of another index.
        processes: who takes part.

    Returns:
        The same tensors on every process.

    Raises:
        ValueError: on every process, if there is no query or no reference at all, embeddings
            differ in width or dtype, only some have indices, or one index has two labels or
            cameras.
    """
    layout = _agree(query, reference, processes)
    if not layout.indexed:
        reference = _number(reference, layout.reference_counts, processes.rank)
        query = _number(query, layout.query_counts, processes.rank)
    reference_rows = _distinct_rows(reference, processes)
    query_rows = _distinct_rows(query, processes)

    table = torch.stack([query.indices, query.labels], dim=1)[query_rows]
    shares = processes.ragged(table)
    indices, labels = torch.cat(shares).T.contiguous()
    counts = [len(share) for share in shares]
    winners = []
    start = 0
    for block_indices in indices.split(block_length(layout.no_rows)):
        block = layout.no_rows.new_empty((len(block_indices), layout.no_rows.shape[1]))
        _spread(block, start, query, query_rows, counts, processes)
        groups = block_indices if leave_one_out else None
        local = processes.attempt(
            lambda block=block, groups=groups: _search(  # type: ignore[misc]
                block, groups, reference, reference_rows, distance
            )
        )
        winners.append(_best_of_all(local, _labels_of(local, reference, reference_rows), processes))
        start += len(block)
    matches = processes.total(_count(labels, reference.labels[reference_rows]))
    result = NearestReferences(labels, matches, *map(torch.cat, zip(*winners, strict=True)))
    order = indices.argsort()
    return NearestReferences(*(column[order] for column in result))


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


def _spread(
    block: Tensor,
    start: int,
    query: EmbeddingSet,
    rows: Tensor,
    counts: list[int],
    processes: Processes,
) -> None:
    """Fill a block [B, D] with all processes' queries from `start` on, in order of rank."""
    first = -start  # where in the block a rank's queries begin
    for rank, count in enumerate(counts):
        low, high = max(first, 0), min(first + count, len(block))
        if low < high:
            part = block[low:high]
            if rank == processes.rank:
                part.copy_(query.take(rows[low - first : high - first]))
            processes.broadcast(part, rank)
        first += count


def _search(
    block: Tensor,
    groups: Tensor | None,
    reference: EmbeddingSet,
    rows: Tensor,
    distance: Distance,
) -> Neighbors:
    """Search this process's references for a block of queries."""
    best = Neighbors(
        torch.full((len(block), 1), -torch.inf, dtype=torch.float64, device=block.device),
        torch.full((len(block), 1), _NONE, device=block.device),
    )
    blocks = round(len(rows) / block_length(block)) or min(len(rows), 1)
    for part in rows.tensor_split(blocks) if blocks else ():  # even ones: each has a fixed cost
        embeddings, indices = reference.ordered(part)
        found = nearest_references(
            block,
            embeddings,
            distance=distance,
            query_groups=groups,
            reference_groups=None if groups is None else indices,
        )
        index = indices[found.index.clamp(min=0)].where(found.index >= 0, _NONE)
        best = merge_neighbors(best, found._replace(index=index))
        del embeddings  # before the next block is made
    return best


def _labels_of(found: Neighbors, reference: EmbeddingSet, rows: Tensor) -> Tensor:
    """The label [Q, 1] of each reference that was found, -1 for none."""
    label = torch.full_like(found.index, _NONE)
    is_found = found.index >= 0
    indices, order = reference.indices[rows].sort()
    position = torch.searchsorted(indices, found.index[is_found])
    label[is_found] = reference.labels[rows[order[position]]]
    return label


def _best_of_all(
    found: Neighbors, label: Tensor, processes: Processes
) -> tuple[Tensor, Tensor, Tensor]:
    """Similarity, index and label [B] of the best among all processes' winners."""
    columns = [found.similarity.view(torch.int64), found.index, label]
    bits, index, label = processes.stack(torch.cat(columns, dim=1).T).unbind(1)
    similarity = bits.view(torch.float64)
    greatest = similarity.amax(dim=0)
    last = torch.iinfo(torch.int64).max
    best = index.where(similarity == greatest, last).argmin(dim=0, keepdim=True)
    return greatest, index.gather(0, best)[0], label.gather(0, best)[0]


def _count(wanted: Tensor, labels: Tensor) -> Tensor:
    """How often each of some labels [Q] occurs among others [R]."""
    labels = labels.sort().values
    below = torch.searchsorted(labels, wanted)
    return torch.searchsorted(labels, wanted, right=True) - below
