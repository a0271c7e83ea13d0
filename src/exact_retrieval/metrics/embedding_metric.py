"""Accumulation of reference and query embeddings, shared by all metrics over them."""

from collections.abc import Callable
from typing import Any, get_args

import torch
from torch import Tensor
from torchmetrics import Metric
from torchmetrics.utilities import dim_zero_cat
from torchmetrics.utilities.distributed import gather_all_tensors

from ..retrieval.embedding_set import EmbeddingSet
from ..retrieval.processes import Processes
from ..retrieval.spread_sets import SpreadSets
from ..search.scoring import Distance

_UNKNOWN = -1


class EmbeddingMetric(Metric):
    """Base of the metrics that compare query embeddings with reference embeddings.

    It only accumulates. Metrics of one `torchmetrics.MetricCollection` share one copy of the
    embeddings when they stand in one compute group.

    Args:
        distance: "cosine", "euclidean" or "inner_product".
        kwargs: options of `torchmetrics.Metric`.

    Raises:
        ValueError: if `distance` is another.
    """

    is_differentiable = False
    full_state_update = False
    higher_is_better = True
    plot_lower_bound = 0.0
    plot_upper_bound = 1.0

    reference_embeddings: list[Tensor]
    reference_labels: list[Tensor]
    reference_indices: list[Tensor]
    reference_cameras: list[Tensor]
    query_embeddings: list[Tensor]
    query_labels: list[Tensor]
    query_indices: list[Tensor]
    query_cameras: list[Tensor]

    def __init__(self, *, distance: Distance = "cosine", **kwargs: Any) -> None:
        super().__init__(**kwargs)
        if distance not in get_args(Distance):
            raise ValueError(f"`distance` should be one of {get_args(Distance)}, got {distance!r}")
        self.distance = distance
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

    def spread_sets(self, *, leave_one_out: bool = False) -> SpreadSets:
        """The samples that count: those of this process alone unless the metric is synced.

        Args:
            leave_one_out: whether the references are the queries, too.

        Raises:
            ValueError: if a set is empty, or samples of several processes do not go together.
        """
        processes = self._synced_with if self._is_synced else Processes(self.device)
        reference = self._set("reference")
        return SpreadSets(reference if leave_one_out else self._set("query"), reference, processes)

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
        columns = {
            column: getattr(self, f"{name}_{column}")
            for column in ("embeddings", "indices", "labels", "cameras")
        }
        batches = columns.pop("embeddings")
        if isinstance(batches, Tensor):  # as torchmetrics gathers them, none as a float [0]
            integers = {column: values.long() for column, values in columns.items()}
            return EmbeddingSet(name, [batches] if len(batches) else [], **integers)
        none = torch.empty(0, dtype=torch.int64, device=self.device)
        return EmbeddingSet(
            name,
            batches,
            **{column: dim_zero_cat(values or [none]) for column, values in columns.items()},
        )

    def _sync_dist(
        self,
        dist_sync_fn: Callable[..., Any] = gather_all_tensors,
        process_group: Any | None = None,
    ) -> None:
        """Note who takes part; samples stay where they are until `compute` searches them.

        A `dist_sync_fn` that the caller chose gathers them first, as torchmetrics does.
        """
        if dist_sync_fn is gather_all_tensors:
            group = process_group or self.process_group
            self._synced_with = Processes(self.device, group, distributed=True)
        else:
            self._synced_with = Processes(self.device)
            super()._sync_dist(dist_sync_fn, process_group)

    def _copy_state_dict(self) -> dict[str, Tensor | list[Any]]:
        """Copy the lists but not their tensors, which nothing writes to."""
        states = {name: getattr(self, name) for name in self._defaults}
        return {n: s if isinstance(s, Tensor) else list(s) for n, s in states.items()}


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
