"""Accumulation of reference and query embeddings, shared by all metrics over them."""

import warnings
from abc import abstractmethod
from collections.abc import Callable
from typing import Any, get_args

import torch
from jaxtyping import Bool, Float, Integer
from torch import Tensor
from torchmetrics import Metric

from ..retrieval.embedding_set import EmbeddingSet
from ..retrieval.processes import Processes
from ..retrieval.retrieval import Vote
from ..retrieval.spread_sets import BLOCK_BYTES, MissingSamplesError, SpreadSets
from ..search.scoring import Distance

_UNKNOWN = -1


class EmbeddingMetric(Metric):
    """Base of the metrics that compare query embeddings with reference embeddings.

    It accumulates; a subclass measures. Metrics in one compute group of a
    `torchmetrics.MetricCollection` share one copy of the embeddings. Over several processes,
    samples are not gathered: `compute` compares them where they are.

    Args:
        distance: "cosine", "euclidean" or "inner_product".
        k: number of references that vote.
        vote: "majority", or under cosine "weighted".
        leave_one_out: whether all samples come as references, each to be a query against all the
            others.
        kwargs: options of `torchmetrics.Metric`, except `dist_sync_fn`.

    Attributes:
        block_bytes: size of the blocks of queries at most that are compared at a time, in float32
            at least; blocks of references have up to twice that.

    Raises:
        ValueError: if an option is another, or `dist_sync_fn` is given.
    """

    is_differentiable = False
    full_state_update = False
    higher_is_better = True
    plot_lower_bound = 0.0
    plot_upper_bound = 1.0

    block_bytes: int = BLOCK_BYTES

    reference_embeddings: list[Tensor]
    reference_labels: list[Tensor]
    reference_indices: list[Tensor]
    reference_cameras: list[Tensor]
    query_embeddings: list[Tensor]
    query_labels: list[Tensor]
    query_indices: list[Tensor]
    query_cameras: list[Tensor]

    def __init__(
        self,
        *,
        distance: Distance = "cosine",
        k: int = 1,
        vote: Vote = "majority",
        leave_one_out: bool = False,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        if self.dist_sync_fn is not None:
            raise ValueError("`dist_sync_fn` should be None, as samples are not gathered")
        _check_options(distance, k, vote)
        self.distance = distance
        self.k = k
        self.vote = vote
        self.leave_one_out = leave_one_out
        self._processes: Processes | None = None
        self._in_forward = False
        for name in ("reference", "query"):
            for column in ("embeddings", "labels", "indices", "cameras"):
                self.add_state(f"{name}_{column}", [], dist_reduce_fx="cat")

    @abstractmethod
    def measure(self, sets: SpreadSets) -> Any:
        """Return the value over some samples; over several processes, the same on each."""

    @abstractmethod
    def undefined(self) -> Any:
        """Return the value that `forward` has for a batch without references or queries."""

    def extra_repr(self) -> str:
        """Return the options, for the representation."""
        options = ("distance", "k", "vote", "leave_one_out")
        return ", ".join(f"{name}={getattr(self, name)!r}" for name in options)

    def update(
        self,
        embeddings: Float[Tensor, "B D"],
        labels: Integer[Tensor, " B"],
        is_query: bool | Bool[Tensor, " B"] = False,
        indices: Integer[Tensor, " B"] | None = None,
        cameras: Integer[Tensor, " B"] | None = None,
    ) -> None:
        """Add a batch of samples.

        Args:
            embeddings: kept as given.
            labels: the identities.
            is_query: whether the batch holds queries; a tensor if the batch is mixed.
            indices: each sample's position in the whole set, not in the batch, from 0. Samples of
                one index are repeats, as of a padding sampler, and count once. Without indices,
                samples are numbered as they arrive, and repeats cannot be recognised.
            cameras: -1 or None where unknown.

        Raises:
            ValueError: if an argument has another shape, dtype or length; if an embedding is not
                finite, is a zero vector under cosine, or differs in width from those before; if
                only some batches have indices.
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

    def compute(self) -> Any:
        """Return the value over all samples; over several processes, the same on each.

        Raises:
            ValueError: if no reference or no query came, or samples with one index differ.
        """
        with torch.autocast(self.device.type, enabled=False):  # or products are less precise
            try:
                sets = self.spread_sets()
            except MissingSamplesError:
                if self._in_forward:
                    return self.undefined()
                raise
            value = self.measure(sets)
            self._warn_of_unmatched(sets)
            return value

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        """Add a batch, and return the value over the batch alone.

        Only the references in the batch are searched. A batch without references, or without
        queries, has the value `undefined()`.

        Args:
            args: those of `update`.
            kwargs: those of `update`.
        """
        for name, batches in self.metric_state.items():
            # torchmetrics empties the lists on the way, which a compute group shares.
            setattr(self, name, list(batches))
        self._in_forward = True
        try:
            return super().forward(*args, **kwargs)
        finally:
            self._in_forward = False

    def reset(self) -> None:
        """Forget all samples."""
        super().reset()
        self._processes = None

    def merge_state(self, incoming_state: dict[str, Any] | Metric) -> None:
        """Add the samples of another metric, behind those of this one.

        Args:
            incoming_state: the metric, or its state.
        """
        own = {name: len(batches) for name, batches in self.metric_state.items()}
        super().merge_state(incoming_state)  # which puts the others first
        for name, batches in self.metric_state.items():
            others = len(batches) - own[name]
            setattr(self, name, [*batches[others:], *batches[:others]])
        self._computed = None  # torchmetrics would go on to return the value of before

    def sync(
        self,
        dist_sync_fn: Callable[..., Any] | None = None,
        process_group: Any | None = None,
        should_sync: bool = True,
        distributed_available: Callable[[], bool] | None = None,
    ) -> None:
        """Choose the processes that the next `compute` compares; no sample moves.

        torchmetrics calls it before each `compute`, with `sync_on_compute` as `should_sync`.

        Args:
            dist_sync_fn: has no effect.
            process_group: who takes part; by default, `process_group` of the constructor.
            should_sync: False to do nothing.
            distributed_available: tells whether there are several processes.

        Raises:
            ValueError: if this process is not in the group.
        """
        is_distributed = distributed_available or self.distributed_available_fn
        if should_sync and is_distributed():
            group = process_group or self.process_group
            self._processes = Processes(self.device, group, distributed=True)

    def unsync(self, should_unsync: bool = True) -> None:
        """Return to the samples of this process, as torchmetrics does after each `compute`."""
        self._processes = None

    def spread_sets(self) -> SpreadSets:
        """Return the distinct samples, of this process alone unless the metric is synced.

        Raises:
            ValueError: if a set is empty, or the samples cannot be compared.
        """
        reference = self._set("reference")
        return SpreadSets(
            reference if self.leave_one_out else self._set("query"),
            reference,
            self._processes or Processes(self.device),
            block_bytes=self.block_bytes,
        )

    def _check_inputs(
        self,
        embeddings: Tensor,
        labels: Tensor,
        is_query: bool | Tensor,
        indices: Tensor | None,
        cameras: Tensor | None,
    ) -> None:
        _check_embeddings(embeddings, self._width(), self.distance)
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
        none = torch.empty(0, dtype=torch.int64, device=self.device)
        columns = {}
        for column in ("indices", "labels", "cameras"):
            batches = getattr(self, f"{name}_{column}")
            columns[column] = torch.cat(batches or [none])
            batches[:] = [columns[column]] if batches else []  # so that memory holds them once
        return EmbeddingSet(name, getattr(self, f"{name}_embeddings"), **columns)

    def _warn_of_unmatched(self, sets: SpreadSets) -> None:
        unmatched = int((sets.matches() <= self.leave_one_out).sum())
        if unmatched and not self._in_forward and sets.processes.rank == 0:
            others = "no other sample" if self.leave_one_out else "no reference"
            warnings.warn(
                f"{unmatched} of {len(sets.query_index)} queries have an identity that {others} "
                "has; they count as wrong.",
                stacklevel=2,
            )

    def _copy_state_dict(self) -> dict[str, Tensor | list[Any]]:
        """Copy the lists but not their tensors.

        The one private method of torchmetrics that is overridden: `forward` would copy all
        embeddings with every batch.
        """
        return {name: list(batches) for name, batches in self.metric_state.items()}


def _check_options(distance: Distance, k: int, vote: Vote) -> None:
    if distance not in get_args(Distance):
        raise ValueError(f"`distance` should be one of {get_args(Distance)}, got {distance!r}")
    if vote not in get_args(Vote):
        raise ValueError(f"`vote` should be one of {get_args(Vote)}, got {vote!r}")
    if isinstance(k, bool) or not isinstance(k, int) or k < 1:
        raise ValueError(f"`k` should be a positive integer, got {k!r}")
    if vote == "weighted" and distance != "cosine":
        raise ValueError(f"`vote` should be majority with distance {distance}, got weighted")


def _check_embeddings(embeddings: Tensor, width: int | None, distance: Distance) -> None:
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
    sums = embeddings.sum(dim=1)
    suspects = (~sums.isfinite() | (sums == 0)).nonzero()[:, 0]  # no other row can be wrong
    valid = torch.ones(len(embeddings), dtype=torch.bool, device=embeddings.device)
    valid[suspects] = embeddings[suspects].isfinite().all(dim=1)
    _check_rows(valid, "be finite", "NaN or infinity")
    if distance == "cosine":
        valid[suspects] = (embeddings[suspects] != 0).any(dim=1)
        _check_rows(valid, "have a direction under cosine", "zero vectors")


def _check_rows(valid: Bool[Tensor, " B"], expected: str, got: str) -> None:
    if not valid.all():
        wrong = (~valid).nonzero()[:, 0]
        raise ValueError(
            f"`embeddings` should {expected}, got {got} in {len(wrong)} of {len(valid)} rows, "
            f"the first of them row {int(wrong[0])}"
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
