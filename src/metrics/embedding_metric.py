"""Accumulation of reference and query embeddings, shared by all metrics over them."""

from collections.abc import Iterator
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torchmetrics import Metric
from torchmetrics.utilities import dim_zero_cat

_UNKNOWN = -1
_BLOCK_BYTES = 64 * 2**20


class EmbeddingBlock(NamedTuple):
    """Some samples of a set, in ascending order of index.

    Attributes:
        embeddings: floating tensor [B, D].
        indices: int64 tensor [B].
    """

    embeddings: Tensor
    indices: Tensor


class EmbeddingSet(NamedTuple):
    """The distinct samples of a set; embeddings stay in the batches in which they came.

    Attributes:
        batches: floating tensors [B, D] in order of arrival, N rows in all, repeats included.
        arrived: int64 tensor [N], the index of each row.
        kept: bool tensor [N], false for the repeats of an index.
        indices: int64 tensor [M], the distinct indices, ascending.
        labels: int64 tensor [M].
        cameras: int64 tensor [M], -1 where unknown.
    """

    batches: list[Tensor]
    arrived: Tensor
    kept: Tensor
    indices: Tensor
    labels: Tensor
    cameras: Tensor

    def blocks(self) -> Iterator[EmbeddingBlock]:
        """Walk through the embeddings in blocks of bounded size, without repeats."""
        start = 0
        for rows in _regroup(self.batches):
            stop = start + len(rows)
            indices, kept = self.arrived[start:stop], self.kept[start:stop]
            if not kept.all() or (indices.diff() < 0).any():
                order = indices.argsort()
                order = order[kept[order]]
                rows, indices = rows[order], indices[order]
            yield EmbeddingBlock(rows, indices)
            start = stop

    def positions(self, indices: Tensor) -> Tensor:
        """Where each of some indices (any shape) stands in `indices`, `labels` and `cameras`."""
        return torch.searchsorted(self.indices, indices)


class EmbeddingMetric(Metric):
    """Base of the metrics that compare query embeddings with reference embeddings.

    It only accumulates. Metrics of one `torchmetrics.MetricCollection` share one copy of the
    embeddings when they stand in one compute group.

    Args:
        kwargs: options of `torchmetrics.Metric`.
    """

    is_differentiable = False
    full_state_update = False

    reference_embeddings: list[Tensor]
    reference_labels: list[Tensor]
    reference_indices: list[Tensor]
    reference_cameras: list[Tensor]
    query_embeddings: list[Tensor]
    query_labels: list[Tensor]
    query_indices: list[Tensor]
    query_cameras: list[Tensor]

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        for name in ("reference", "query"):
            for column in ("embeddings", "labels", "indices", "cameras"):
                self.add_state(f"{name}_{column}", [], dist_reduce_fx="cat")

    def update(
        self,
        embeddings: Tensor,
        labels: Tensor,
        is_query: bool | Tensor = False,
        indices: Tensor | None = None,
        cameras: Tensor | None = None,
    ) -> None:
        """Add a batch of samples.

        Args:
            embeddings: floating tensor [B, D], kept as given.
            labels: integer tensor [B], the identities.
            is_query: whether the batch belongs to the queries; a bool tensor [B] where it is mixed.
            indices: integer tensor [B], each sample's position in its set, from 0. Samples with an
                index that came before are repeats and count once. Without indices, the order of
                arrival stands in; then neither repeats nor another order can be recognised.
            cameras: integer tensor [B]; -1 or None where unknown.

        Raises:
            ValueError: if an argument has another shape, dtype or length; if an embedding is not
                finite or is of another width than before; if only some batches have indices.
        """
        self._check_inputs(embeddings, labels, is_query, indices, cameras)
        unknown = torch.full_like(labels, _UNKNOWN)
        columns = {
            "embeddings": embeddings.detach(),
            "labels": labels,
            "indices": unknown if indices is None else indices,
            "cameras": unknown if cameras is None else cameras,
        }
        for name, value in columns.items():
            value = value if name == "embeddings" else value.long()
            if isinstance(is_query, Tensor):
                self._append("reference", name, value[~is_query])
                self._append("query", name, value[is_query])
            else:
                self._append("query" if is_query else "reference", name, value)

    def reference_set(self) -> EmbeddingSet:
        """The references that came so far.

        Raises:
            ValueError: if there are none, or one index came with two labels or cameras.
        """
        return self._set("reference")

    def query_set(self) -> EmbeddingSet:
        """The queries that came so far.

        Raises:
            ValueError: if there are none, or one index came with two labels or cameras.
        """
        return self._set("query")

    def _check_inputs(
        self,
        embeddings: Tensor,
        labels: Tensor,
        is_query: bool | Tensor,
        indices: Tensor | None,
        cameras: Tensor | None,
    ) -> None:
        _check_embeddings(embeddings, self._width())
        _check_column("labels", labels, len(embeddings), integer=True)
        if indices is not None:
            _check_column("indices", indices, len(embeddings), integer=True)
            if (indices < 0).any():
                raise ValueError(f"`indices` should count from 0, got {int(indices.min())}")
        if cameras is not None:
            _check_column("cameras", cameras, len(embeddings), integer=True)
        if isinstance(is_query, Tensor):
            _check_column("is_query", is_query, len(embeddings), integer=False)
        elif not isinstance(is_query, bool):
            raise ValueError(f"`is_query` should be a bool or a bool tensor, got {is_query!r}")
        self._check_indices_always_or_never(indices is not None, len(embeddings))

    def _width(self) -> int | None:
        for batches in (self.reference_embeddings, self.query_embeddings):
            if len(batches):
                return batches[0].shape[-1]
        return None

    def _check_indices_always_or_never(self, given: bool, rows: int) -> None:
        for batches in (self.reference_indices, self.query_indices):
            if rows and len(batches) and given != bool((batches[0] >= 0).all()):
                raise ValueError(
                    "`indices` should be given for every batch or for none, got a batch "
                    + ("with them after one without" if given else "without them after one with")
                )

    def _append(self, set_name: str, column: str, value: Tensor) -> None:
        if len(value):
            getattr(self, f"{set_name}_{column}").append(value)

    def _set(self, name: str) -> EmbeddingSet:
        batches = getattr(self, f"{name}_embeddings")
        batches = [batches] if isinstance(batches, Tensor) else batches
        if sum(map(len, batches)) == 0:
            raise ValueError(
                f"`{name}` should hold at least one sample, got none: call `update` with "
                f"`is_query={name == 'query'}` before `compute`"
            )
        labels = dim_zero_cat(getattr(self, f"{name}_labels"))
        cameras = dim_zero_cat(getattr(self, f"{name}_cameras"))
        arrived = dim_zero_cat(getattr(self, f"{name}_indices"))
        if (arrived == _UNKNOWN).all():
            arrived = torch.arange(len(labels), device=labels.device)
        order = arrived.argsort(stable=True)
        first = torch.ones_like(order, dtype=torch.bool)
        first[1:] = arrived[order].diff() != 0
        for column, values in (("label", labels), ("camera", cameras)):
            _check_repeats_agree(name, column, arrived[order], first, values[order])
        kept = torch.empty_like(first).scatter_(0, order, first)
        distinct = order[first]
        return EmbeddingSet(
            batches, arrived, kept, arrived[distinct], labels[distinct], cameras[distinct]
        )


def _check_embeddings(embeddings: Tensor, width: int | None) -> None:
    if not isinstance(embeddings, Tensor):
        raise ValueError(f"`embeddings` should be a tensor, got {type(embeddings).__name__}")
    if embeddings.ndim != 2:
        raise ValueError(f"`embeddings` should have shape [B, D], got {list(embeddings.shape)}")
    if not embeddings.is_floating_point():
        raise ValueError(f"`embeddings` should be of a floating dtype, got {embeddings.dtype}")
    if embeddings.shape[1] == 0:
        raise ValueError(f"`embeddings` should have a width, got shape {list(embeddings.shape)}")
    if width is not None and embeddings.shape[1] != width:
        raise ValueError(
            f"`embeddings` should have width {width} as in the batches before, "
            f"got {embeddings.shape[1]}"
        )
    finite = embeddings.isfinite().all(dim=1)
    if not finite.all():
        raise ValueError(
            f"`embeddings` should be finite, got NaN or infinity in {int((~finite).sum())} of "
            f"{len(finite)} rows, the first of them row {int(finite.logical_not().nonzero()[0])}"
        )


def _check_column(name: str, value: Tensor, length: int, *, integer: bool) -> None:
    wanted = "an integer" if integer else "a bool"
    if not isinstance(value, Tensor):
        raise ValueError(f"`{name}` should be {wanted} tensor, got {type(value).__name__}")
    if value.dtype == torch.bool if integer else value.dtype != torch.bool:
        raise ValueError(f"`{name}` should be {wanted} tensor, got {value.dtype}")
    if value.is_floating_point() or value.is_complex():
        raise ValueError(f"`{name}` should be {wanted} tensor, got {value.dtype}")
    if value.shape != (length,):
        raise ValueError(
            f"`{name}` should have shape [{length}] as `embeddings` has {length} rows, "
            f"got {list(value.shape)}"
        )


def _check_repeats_agree(
    set_name: str, column: str, indices: Tensor, first: Tensor, values: Tensor
) -> None:
    repeat = ~first[1:]
    differs = repeat & (values.diff() != 0)
    if differs.any():
        row = int(differs.nonzero()[0]) + 1
        raise ValueError(
            f"`indices` should name one {set_name} sample each, got index {int(indices[row])} "
            f"with {column} {int(values[row - 1])} and with {column} {int(values[row])}"
        )


def _regroup(batches: list[Tensor]) -> Iterator[Tensor]:
    """Join small batches and split large ones, so that blocks are of even size."""
    row_bytes = max(batches[0].shape[1] * batches[0].element_size(), 1)
    limit = max(_BLOCK_BYTES // row_bytes, 1)
    group: list[Tensor] = []
    size = 0
    for batch in batches:
        for part in batch.split(limit):
            if size + len(part) > limit:
                yield _join(group)
                group, size = [], 0
            group.append(part)
            size += len(part)
    yield _join(group)


def _join(tensors: list[Tensor]) -> Tensor:
    return tensors[0] if len(tensors) == 1 else torch.cat(tensors)
