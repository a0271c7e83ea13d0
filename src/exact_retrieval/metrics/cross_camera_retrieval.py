"""CMC, mAP and mINP as published for Market-1501."""

from typing import Any

import torch
from torch import Tensor

from ..retrieval.match_ranking import MatchRanks, rank_matches
from ..search.scoring import Distance
from .embedding_metric import EmbeddingMetric

_RANKS = (1, 5, 10)


class CrossCameraRetrieval(EmbeddingMetric):
    r"""How early the references of a query's identity by other cameras rank.

    For each query, references of its identity by its own camera are left out. The others rank by
    their float64 similarity, the lowest index first on a tie. Let the m remaining references of its
    identity, its matches, have the ranks :math:`\rho_1 < \dots < \rho_m`, from 1. The measures are
    means, over the queries with m > 0, of

    - rank1, rank5, rank10, the cumulative match characteristic (CMC): whether :math:`\rho_1 \le 1`,
      5, 10 (Zheng et al., "Scalable Person Re-identification: A Benchmark", ICCV 2015);
    - mAP: :math:`\frac1m \sum_{i=1}^m i / \rho_i`, the average precision of information retrieval
      (ibid.; as torchreid and FastReID compute it, not the trapezoids of the Oxford buildings
      script);
    - mINP: :math:`m / \rho_m` (Ye et al., "Deep Learning for Person Re-identification: A Survey and
      Outlook", TPAMI 2021).

    Args:
        distance: "cosine", "euclidean" or "inner_product".
        kwargs: options of `torchmetrics.Metric`.

    Attributes:
        values: what the measures are the means of, float64 [Q] for each, the queries in ascending
            order of index, NaN for those with m = 0; empty where a camera is unknown.
        ranks: where the matches of each query rank, known cameras or not.

    Raises:
        ValueError: if `distance` is another.

    Example:
        >>> metric = CrossCameraRetrieval()
        >>> reference = torch.tensor([[1.0, 0.0], [1.0, 0.5], [0.0, 1.0]])
        >>> cameras = torch.tensor([1, 2, 2])
        >>> metric.update(reference, torch.tensor([7, 9, 7]), cameras=cameras)
        >>> query = torch.tensor([[1.0, 0.1]])
        >>> metric.update(query, torch.tensor([7]), is_query=True, cameras=torch.tensor([1]))
        >>> metric.compute()["mAP"]
        tensor(0.5000)
    """

    def __init__(self, *, distance: Distance = "cosine", **kwargs: Any) -> None:
        super().__init__(distance=distance, **kwargs)
        self.values: dict[str, Tensor] = {}
        self.ranks: MatchRanks | None = None

    def reset(self) -> None:
        """Forget all samples and results."""
        super().reset()
        self.values, self.ranks = {}, None

    def compute(self) -> dict[str, Tensor]:
        """The measures as float32 scalars in [0, 1], and how many queries they are means of.

        Returns:
            "rank1", "rank5", "rank10", "mAP", "mINP" and "cross_camera_queries"; nothing where the
            camera of a query or reference is unknown, and no means where no query has a match.

        Raises:
            ValueError: if no reference or no query came, or one index came with two labels.
        """
        sets = self.spread_sets()
        self.ranks = rank_matches(sets, distance=self.distance)
        self.values = {}
        if not sets.cameras_are_known():
            return {}
        first = self.ranks.cross_camera_first_rank
        valid = first > 0
        for k in _RANKS:
            self.values[f"rank{k}"] = (first <= k).double().where(valid, torch.nan)
        self.values["mAP"] = self.ranks.average_precision
        self.values["mINP"] = self.ranks.inverse_negative_penalty
        count = {"cross_camera_queries": valid.sum().float()}
        if not valid.any():
            return count
        return {name: value[valid].mean().float() for name, value in self.values.items()} | count
