"""1-NN accuracy: the share of queries whose nearest reference has their identity."""

from typing import Any, get_args

import torch
from torch import Tensor
from torchmetrics.utilities import rank_zero_warn

from src.metrics.embedding_metric import EmbeddingMetric, EmbeddingSet
from src.metrics.functional.neighbors import Neighbors, merge_neighbors
from src.metrics.functional.scoring import Distance
from src.metrics.functional.search import nearest_references


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

    Raises:
        ValueError: if `distance` is another; `update` also raises for a zero
            vector under cosine, which has no direction.

    Example:
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

    def compute(self) -> Tensor:
        """The accuracy over all queries, as a float32 scalar in [0, 1].

        Raises:
            ValueError: if no reference or no query came, or one index came with two labels.
        """
        reference = self.reference_set()
        query = reference if self.leave_one_out else self.query_set()
        nearest = _search(query, reference, self.distance, leave_one_out=self.leave_one_out)
        found = nearest.index[:, 0]
        nearest_labels = reference.labels[reference.positions(found.clamp(min=0))]
        self.correct = (nearest_labels == query.labels) & (found >= 0)
        _warn_of_unmatched(query.labels, reference.labels, matches_needed=1 + self.leave_one_out)
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


def _search(
    query: EmbeddingSet, reference: EmbeddingSet, distance: Distance, *, leave_one_out: bool
) -> Neighbors:
    found = []
    for query_block in query.blocks():
        best: Neighbors | None = None
        for block in reference.blocks():
            neighbors = nearest_references(
                query_block.embeddings,
                block.embeddings,
                distance=distance,
                query_groups=query_block.indices if leave_one_out else None,
                reference_groups=block.indices if leave_one_out else None,
            )
            index = block.indices[neighbors.index.clamp(min=0)].where(neighbors.index >= 0, -1)
            neighbors = neighbors._replace(index=index)
            best = neighbors if best is None else merge_neighbors(best, neighbors)
        assert best is not None
        found.append((query_block.indices, best))
    order = torch.cat([indices for indices, _ in found]).argsort()
    return Neighbors(
        torch.cat([best.similarity for _, best in found])[order],
        torch.cat([best.index for _, best in found])[order],
    )


def _warn_of_unmatched(
    query_labels: Tensor, reference_labels: Tensor, *, matches_needed: int
) -> None:
    labels, counts = reference_labels.unique(return_counts=True)
    matched = torch.isin(query_labels, labels[counts >= matches_needed])
    unmatched = int((~matched).sum())
    if unmatched:
        rank_zero_warn(
            f"{unmatched} of {len(query_labels)} queries have an identity that no reference has; "
            "they count as wrong.",
            UserWarning,
        )
