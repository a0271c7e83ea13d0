"""k-NN accuracy: the share of queries whose nearest references vote for their identity."""

from typing import Any

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from ..retrieval.measures import elect
from ..retrieval.nearest import NearestReferences, find_nearest
from ..retrieval.spread_sets import SpreadSets
from .embedding_metric import EmbeddingMetric


class NearestNeighborAccuracy(EmbeddingMetric):
    """Share of the queries whose nearest reference, among all references, has the same identity.

    accuracy = (queries whose nearest reference has their label) / (all queries)

    With ``k`` > 1, the k nearest references vote; of labels with equally many votes, the one whose
    nearest reference is nearest wins. A weighted vote counts
    ``exp((similarity - greatest similarity) / 0.07)``, as Wu et al., "Unsupervised Feature Learning
    via Non-Parametric Instance Discrimination", CVPR 2018, section 3.4, do for cosine.

    The nearest reference is the one with the greatest similarity, computed in float64 from the
    embeddings as given; the lowest index wins an exact tie. A query whose identity is not among the
    references counts as wrong; a warning says how many there are. No reference is left out, unlike
    in the protocol of Market-1501, whose rank-1 drops references of the same identity by the same
    camera (Zheng et al., "Scalable Person Re-identification: A Benchmark", ICCV 2015).

    Args:
        distance: "cosine", "euclidean" or "inner_product".
        k: number of references that vote.
        vote: "majority", or under cosine "weighted".
        leave_one_out: whether all samples come as references, each to be a query against all the
            others. A query without another sample of its identity counts as wrong.
        kwargs: options of `torchmetrics.Metric`, except `dist_sync_fn`.

    Attributes:
        correct: whether each query was right in the last `compute`, by ascending index.
        found: the k nearest references of each query.

    Raises:
        ValueError: if an option is another, or `dist_sync_fn` is given.

    Example:
        >>> import torch
        >>> metric = NearestNeighborAccuracy(distance="cosine")
        >>> metric.update(torch.tensor([[1.0, 0.0], [0.0, 1.0]]), torch.tensor([7, 9]))
        >>> queries = torch.tensor([[2.0, 1.0], [3.0, 1.0]])
        >>> metric.update(queries, torch.tensor([7, 9]), is_query=True)
        >>> metric.compute()
        tensor(0.5000)
    """

    correct: Bool[Tensor, " Q"] | None = None
    found: NearestReferences | None = None

    def reset(self) -> None:
        """Forget all samples and results."""
        super().reset()
        self.correct = self.found = None

    def measure(self, sets: SpreadSets) -> Float[Tensor, ""]:
        """Return the accuracy over some samples, a float32 scalar in [0, 1]."""
        self.found = find_nearest(
            sets,
            distance=self.distance,
            k=self.k,
            leave_one_out=self.leave_one_out,
        )
        is_found = self.found.index[:, 0] >= 0
        self.correct = (elect(self.found, self.vote) == self.found.query_label) & is_found
        return self.correct.sum() / self.correct.numel()

    def undefined(self) -> Float[Tensor, ""]:
        """Return NaN, the share of no queries."""
        return torch.tensor(torch.nan, device=self.device)

    def plot(self, val: Any = None, ax: Any = None) -> Any:
        """Draw the accuracy, or several, with matplotlib.

        Args:
            val: one or more results of `compute` or `forward`; by default, that of `compute`.
            ax: matplotlib axes; by default, new ones.

        Returns:
            The figure and the axes.
        """
        return self._plot(val, ax)
