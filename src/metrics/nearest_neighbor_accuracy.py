"""1-NN accuracy: the share of queries whose nearest reference has their identity."""

import warnings
from typing import Any, get_args

from torch import Tensor

from src.metrics.embedding_metric import EmbeddingMetric
from src.metrics.functional.scoring import Distance
from src.metrics.neighbor_search import NearestReferences, find_nearest


class NearestNeighborAccuracy(EmbeddingMetric):
    """Share of the queries whose nearest reference, among all references, has the same identity.

    accuracy = (queries whose nearest reference has their label) / (all queries)

    The nearest reference is the one with the greatest similarity, computed in float64 from the
    embeddings as given; the lowest index wins an exact tie. A query whose identity is not among the
    references is wrong by definition and stays in the denominator; a warning counts such queries.
    No reference is left out: not the protocol of Market-1501, whose rank-1 drops references of the
    same identity by the same camera (Zheng et al., "Scalable Person Re-identification: A
    Benchmark", ICCV 2015).

    Args:
        distance: "cosine", or "euclidean".
        leave_one_out: whether all samples come as references, each to be a query against all the
            others. A query without another sample of its identity counts as wrong.
        kwargs: options of `torchmetrics.Metric`.

    Attributes:
        correct: bool tensor [Q] of the last `compute`, the queries in ascending order of index.
        nearest: int64 tensor [Q], the index of each one's nearest reference; -1 where
            `leave_one_out` leaves none.

    Raises:
        ValueError: if `distance` is another; `update` also raises for a zero
            vector under cosine, which has no direction.

    Example:
        >>> import torch
        >>> metric = NearestNeighborAccuracy(distance="cosine")
        >>> metric.update(torch.tensor([[1.0, 0.0], [0.0, 1.0]]), torch.tensor([7, 9]))
        >>> queries = torch.tensor([[2.0, 1.0], [3.0, 1.0]])
        >>> metric.update(queries, torch.tensor([7, 9]), is_query=True)
        >>> metric.compute()
        tensor(0.5000)
    """

    higher_is_better = True
    plot_lower_bound = 0.0
    plot_upper_bound = 1.0

    def __init__(
        self, *, distance: Distance = "cosine", leave_one_out: bool = False, **kwargs: Any
    ) -> None:
        super().__init__(**kwargs)
        if distance not in get_args(Distance):
            raise ValueError(f"`distance` should be one of {get_args(Distance)}, got {distance!r}")
        self.distance = distance
        self.leave_one_out = leave_one_out
        self.correct: Tensor | None = None
        self.nearest: Tensor | None = None

    def compute(self) -> Tensor:
        """The accuracy over all queries, as a float32 scalar in [0, 1].

        Over several processes, every one returns the same and has the same `correct`.

        Raises:
            ValueError: if no reference or no query came, or one index came with two labels.
        """
        reference, processes = self.reference_set(), self.processes
        found = find_nearest(
            reference if self.leave_one_out else self.query_set(),
            reference,
            distance=self.distance,
            leave_one_out=self.leave_one_out,
            processes=processes,
        )
        self.nearest = found.index
        self.correct = (found.label == found.query_label) & (found.index >= 0)
        if processes.rank == 0:
            _warn_of_unmatched(found, matches_needed=1 + self.leave_one_out)
        return self.correct.sum() / self.correct.numel()

    def _check_inputs(self, embeddings: Tensor, *others: Any) -> None:
        super()._check_inputs(embeddings, *others)
        if self.distance == "cosine":
            zero = (embeddings == 0).all(dim=1)
            if zero.any():
                raise ValueError(
                    f"`embeddings` should have a direction under cosine, got zero vectors in "
                    f"{int(zero.sum())} of {len(zero)} rows, the first of them row "
                    f"{int(zero.nonzero()[0])}"
                )


def _warn_of_unmatched(found: NearestReferences, *, matches_needed: int) -> None:
    unmatched = int((found.matches < matches_needed).sum())
    if unmatched:
        warnings.warn(
            f"{unmatched} of {len(found.matches)} queries have an identity that no reference has; "
            "they count as wrong.",
            stacklevel=2,
        )
