"""k-NN accuracy: the share of queries whose nearest references vote for their identity."""

import warnings
from typing import Any, get_args

from torch import Tensor

from ..retrieval.measures import elect
from ..retrieval.nearest import NearestReferences, find_nearest
from ..retrieval.retrieval import Vote
from ..search.scoring import Distance
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
    references is wrong by definition and stays in the denominator; a warning counts such queries.
    No reference is left out: not the protocol of Market-1501, whose rank-1 drops references of the
    same identity by the same camera (Zheng et al., "Scalable Person Re-identification: A
    Benchmark", ICCV 2015).

    Args:
        distance: "cosine", "euclidean" or "inner_product".
        k: number of references that vote.
        vote: "majority", or under cosine "weighted".
        leave_one_out: whether all samples come as references, each to be a query against all the
            others. A query without another sample of its identity counts as wrong.
        kwargs: options of `torchmetrics.Metric`.

    Attributes:
        correct: bool tensor [Q] of the last `compute`, the queries in ascending order of index.
        found: the k nearest references of each query.

    Raises:
        ValueError: if `distance`, `k` or `vote` is another; `update` also raises for a zero
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

    def __init__(
        self,
        *,
        distance: Distance = "cosine",
        k: int = 1,
        vote: Vote = "majority",
        leave_one_out: bool = False,
        **kwargs: Any,
    ) -> None:
        super().__init__(distance=distance, **kwargs)
        check_vote(k, vote, distance)
        self.k = k
        self.vote = vote
        self.leave_one_out = leave_one_out
        self.correct: Tensor | None = None
        self.found: NearestReferences | None = None

    def reset(self) -> None:
        """Forget all samples and results."""
        super().reset()
        self.correct = self.found = None

    def compute(self) -> Tensor:
        """The accuracy over all queries, as a float32 scalar in [0, 1].

        Over several processes, every one returns the same and has the same `correct`.

        Raises:
            ValueError: if no reference or no query came, or one index came with two labels.
        """
        sets = self.spread_sets(leave_one_out=self.leave_one_out)
        found = find_nearest(
            sets,
            distance=self.distance,
            k=self.k,
            without="index" if self.leave_one_out else None,
        )
        self.found = found
        self.correct = (elect(found, self.vote) == found.query_label) & (found.index[:, 0] >= 0)
        matches = sets.matches()
        if sets.processes.rank == 0:
            unmatched = int((matches <= self.leave_one_out).sum())
            warn_of_unmatched(unmatched, len(matches), leave_one_out=self.leave_one_out)
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


def check_vote(k: int, vote: Vote, distance: Distance) -> None:
    """Refuse options of a vote.

    Raises:
        ValueError: if `k` or `vote` is another, or `vote` does not go with `distance`.
    """
    if vote not in get_args(Vote):
        raise ValueError(f"`vote` should be one of {get_args(Vote)}, got {vote!r}")
    if isinstance(k, bool) or not isinstance(k, int) or k < 1:
        raise ValueError(f"`k` should be a positive integer, got {k!r}")
    if vote == "weighted" and distance != "cosine":
        raise ValueError(f"`vote` should be majority with distance {distance}, got weighted")


def warn_of_unmatched(unmatched: int, queries: int, *, leave_one_out: bool) -> None:
    """Warn of queries that no reference can identify, where there are any."""
    if unmatched:
        others = "no other sample" if leave_one_out else "no reference"
        warnings.warn(
            f"{unmatched} of {queries} queries have an identity that {others} has; "
            "they count as wrong.",
            stacklevel=2,
        )
