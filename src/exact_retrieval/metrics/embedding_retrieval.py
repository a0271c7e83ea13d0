"""All measures of one retrieval, as a metric."""

from typing import Any

from torch import Tensor

from ..retrieval.measures import count_queries, measure_all
from ..retrieval.retrieval import Retrieval, Vote, retrieve
from ..search.scoring import Distance
from .embedding_metric import EmbeddingMetric
from .nearest_neighbor_accuracy import check_vote, warn_of_unmatched


class EmbeddingRetrieval(EmbeddingMetric):
    r"""All measures that `retrieval.measures` lists, from embeddings that are held once.

    Measures under Market-1501's protocol leave out, query by query, the references of the query's
    identity by its own camera.

    Args:
        distance: "cosine", "euclidean" or "inner_product".
        k: number of references that vote.
        vote: "majority", or under cosine "weighted".
        leave_one_out: whether all samples come as references, each to be a query against all the
            others.
        kwargs: options of `torchmetrics.Metric`.

    Attributes:
        retrieval: what the last `compute` knows of every query.

    Raises:
        ValueError: if an option is another.

    Example:
        >>> import torch
        >>> metric = EmbeddingRetrieval()
        >>> reference = torch.tensor([[1.0, 0.0], [1.0, 0.5], [0.0, 1.0]])
        >>> cameras = torch.tensor([1, 2, 2])
        >>> metric.update(reference, torch.tensor([7, 9, 7]), cameras=cameras)
        >>> query = torch.tensor([[1.0, 0.1]])
        >>> metric.update(query, torch.tensor([7]), is_query=True, cameras=torch.tensor([1]))
        >>> measures = metric.compute()
        >>> measures["acc"], measures["mAP"]
        (tensor(1.), tensor(0.5000))
    """

    retrieval: Retrieval | None

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
        self.retrieval = None

    def reset(self) -> None:
        """Forget all samples and results."""
        super().reset()
        self.retrieval = None

    def compute(self) -> dict[str, Tensor]:
        """Return all measures, and the numbers of queries that they are means over.

        Returns:
            Scalars by name: measures in [0, 1]; a measure over no query is left out.

        Raises:
            ValueError: if no reference or no query came, or one index came with two labels.
        """
        sets = self.spread_sets(leave_one_out=self.leave_one_out)
        self.retrieval = retrieve(
            sets,
            distance=self.distance,
            k=self.k,
            vote=self.vote,
            leave_one_out=self.leave_one_out,
        )
        counts = count_queries(self.retrieval)
        if sets.processes.rank == 0:
            unmatched = counts["queries"] - counts["matched_queries"]
            warn_of_unmatched(unmatched, counts["queries"], leave_one_out=self.leave_one_out)
        means = {each.measure.name: each.mean for each in measure_all(self.retrieval)}
        return means | {
            name: self.retrieval.query_label.new_tensor(count).float()
            for name, count in counts.items()
        }
