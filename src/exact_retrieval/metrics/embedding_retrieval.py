"""All measures of one retrieval, as a metric."""

from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from ..retrieval.measures import count_denominators, describe_thresholds, measure_all
from ..retrieval.reranking import KReciprocal
from ..retrieval.retrieval import Retrieval, retrieve
from ..retrieval.spread_sets import SpreadSets
from .embedding_metric import EmbeddingMetric


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
        reranking: `KReciprocal` to log the measures after re-ranking beside the others.
        kwargs: options of `torchmetrics.Metric`, except `dist_sync_fn`.

    Attributes:
        retrieval: what the last `compute` knows of every query.

    Raises:
        ValueError: if an option is another, or `dist_sync_fn` is given.

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

    retrieval: Retrieval | None = None

    def __init__(self, *, reranking: KReciprocal | None = None, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.reranking = reranking

    def reset(self) -> None:
        """Forget all samples and results."""
        super().reset()
        self.retrieval = None

    def measure(self, sets: SpreadSets) -> dict[str, Float[Tensor, ""]]:
        """Return all measures, the thresholds of some, and the numbers that they are means over.

        Returns:
            Scalars by name: measures in [0, 1]; a measure without a denominator is left out.
        """
        self.retrieval = retrieve(
            sets,
            distance=self.distance,
            k=self.k,
            vote=self.vote,
            leave_one_out=self.leave_one_out,
            reranking=self.reranking,
        )
        means = {each.measure.name: each.mean for each in measure_all(self.retrieval)}
        numbers = describe_thresholds(self.retrieval.verification, self.retrieval.open_set)
        numbers |= count_denominators(self.retrieval)
        device = self.retrieval.query_label.device
        return means | {
            name: torch.tensor(number, dtype=torch.float32, device=device)
            for name, number in numbers.items()
        }

    def undefined(self) -> dict[str, Float[Tensor, ""]]:
        """Return no measure, as none is over a query."""
        return {}
