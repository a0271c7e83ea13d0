"""All measures of a retrieval. An entry holds whatever is said of its measure anywhere.

A measure is a mean of one value per query. Its entry gives the values as a function of a
`Retrieval`. The metrics, the intervals and the rows of all tables come from the entries.
"""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from jaxtyping import Float64, Int64
from torch import Tensor

from .matches import MatchRanks
from .nearest import NearestReferences
from .retrieval import Retrieval, Vote

_TEMPERATURE = 0.07
_COVER_HART = 'Cover and Hart, "Nearest Neighbor Pattern Classification", IEEE TIT 1967'
_MUSGRAVE = 'Musgrave et al., "A Metric Learning Reality Check", ECCV 2020'
_ZHONG = 'Zhong et al., "Re-ranking Person Re-identification with k-reciprocal Encoding", CVPR 2017'
_MARKET = 'Zheng et al., "Scalable Person Re-identification: A Benchmark", ICCV 2015'


@dataclass(frozen=True)
class Measure:
    """A mean over queries.

    Attributes:
        name: under which it is logged.
        brief: in a few words, after "212 of 264" if it is a share. Braces name an attribute of the
            retrieval.
        meaning: what the mean is of, in full; braces likewise.
        denominator: the queries that it is a mean over, by their name in `DENOMINATORS`.
        source: of the definition.
        is_share: whether every value is 0 or 1, so that the mean is a share of the queries.
        values: of every query; NaN for queries outside the denominator.
    """

    name: str
    brief: str
    meaning: str
    denominator: str
    source: str
    is_share: bool
    values: Callable[[Retrieval], Float64[Tensor, " Q"]]


@dataclass(frozen=True)
class Measured:
    """A measure of one retrieval.

    Attributes:
        measure: which one.
        values: of every query; NaN for queries outside the denominator.
    """

    measure: Measure
    values: Float64[Tensor, " Q"]

    @property
    def queries(self) -> int:
        """The size of the denominator."""
        return int((~self.values.isnan()).sum())

    @property
    def mean(self) -> Tensor:
        """The measure as a float32 scalar in [0, 1]."""
        return self.values[~self.values.isnan()].mean().float()


def measure_all(retrieval: Retrieval) -> list[Measured]:
    """Measure a retrieval in every way for which it has at least one query, in a fixed order."""
    measured = [Measured(measure, measure.values(retrieval)) for measure in MEASURES]
    return [each for each in measured if each.queries]


def count_queries(retrieval: Retrieval) -> dict[str, int]:
    """Count the queries in each denominator, by the name under which the number is logged."""
    counts = {
        _ALL: len(retrieval.query_label),
        _MATCHED: int((retrieval.matches.count > 0).sum()),
    }
    if retrieval.cameras_are_known:
        counts[_CROSS_CAMERA] = int((retrieval.cross_camera.count > 0).sum())
    return counts


def elect(found: NearestReferences, vote: Vote) -> Int64[Tensor, " Q"]:
    """Find the label that the neighbours of each query vote for.

    Of labels with equally many votes, the one whose nearest reference is nearest wins. A weighted
    vote counts ``exp((similarity - greatest similarity) / 0.07)`` (Wu et al., "Unsupervised Feature
    Learning via Non-Parametric Instance Discrimination", CVPR 2018, section 3.4).

    Returns:
        The labels; -1 for a query without neighbours.
    """
    weight = (found.index >= 0).double()
    if vote == "weighted":
        weight *= ((found.similarity - found.similarity[:, :1]) / _TEMPERATURE).exp().nan_to_num(0)
    votes = torch.zeros_like(weight)
    for place in range(votes.shape[1]):
        votes += (found.label == found.label[:, place, None]) * weight[:, place, None]
    places = torch.arange(votes.shape[1], device=votes.device).expand_as(votes)
    winner = places.where(votes == votes.amax(dim=1, keepdim=True), votes.shape[1]).amin(dim=1)
    return found.label.gather(1, winner[:, None])[:, 0]


def _is_nearest(found: NearestReferences, label: Tensor) -> Tensor:
    return ((found.label[:, 0] == label) & (found.index[:, 0] >= 0)).double()


def _is_elected(retrieval: Retrieval) -> Tensor:
    elected = elect(retrieval.nearest, retrieval.vote)
    is_found = retrieval.nearest.index[:, 0] >= 0
    return ((elected == retrieval.query_label) & is_found).double()


def _is_found_within(k: int, matches: MatchRanks) -> Tensor:
    first = matches.first
    return (first <= k).double().where(first > 0, torch.nan)


def _found_within(k: int) -> Callable[[Retrieval], Tensor]:
    return lambda retrieval: _is_found_within(k, retrieval.cross_camera)


def _if_reranked(
    values: Callable[[MatchRanks], Tensor], *, across_cameras: bool
) -> Callable[[Retrieval], Tensor]:
    """Measure the matches after re-ranking; without it, no query is in the denominator."""

    def of_retrieval(retrieval: Retrieval) -> Tensor:
        matches = retrieval.reranked_cross_camera if across_cameras else retrieval.reranked
        if matches is None:
            return torch.full_like(retrieval.query_label, torch.nan, dtype=torch.float64)
        return values(matches)

    return of_retrieval


def _inverse_negative_penalty(matches: MatchRanks) -> Tensor:
    return matches.count.double() / matches.last  # 0 / 0 is NaN


_ALL, _MATCHED, _CROSS_CAMERA = "queries", "matched_queries", "cross_camera_queries"

DENOMINATORS = {
    _ALL: "all queries",
    _MATCHED: "queries whose identity a reference has",
    _CROSS_CAMERA: "queries with a match by another camera",
}

MEASURES = (
    Measure(
        "acc",
        "by {distance}",
        "the nearest reference, by {distance}, has the query's identity",
        _ALL,
        _COVER_HART,
        True,
        lambda retrieval: _is_nearest(retrieval.nearest, retrieval.query_label),
    ),
    Measure(
        "acc_euclidean",
        "by euclidean",
        "the nearest reference, by euclidean distance, has the query's identity",
        _ALL,
        _COVER_HART,
        True,
        lambda retrieval: _is_nearest(retrieval.nearest_euclidean, retrieval.query_label),
    ),
    Measure(
        "knn_acc",
        "by vote of {k}",
        "the {k} nearest references vote for the query's identity ({vote})",
        _ALL,
        _COVER_HART,
        True,
        _is_elected,
    ),
    Measure(
        "reranked_acc",
        "re-ranked",
        "the nearest reference after k-reciprocal re-ranking has the query's identity",
        _ALL,
        _ZHONG,
        True,
        _if_reranked(lambda matches: (matches.first == 1).double(), across_cameras=False),
    ),
    Measure(
        "map_all",
        "mAP over all references",
        "average precision of all references of the query's identity, cameras aside",
        _MATCHED,
        'Manning, Raghavan and Schütze, "Introduction to Information Retrieval", 2008, section 8.4',
        False,
        lambda retrieval: retrieval.matches.average_precision,
    ),
    Measure(
        "r_precision",
        "R-precision",
        "share of right ones among the first R references, R being how many have the identity",
        _MATCHED,
        _MUSGRAVE,
        False,
        lambda retrieval: retrieval.matches.r_precision,
    ),
    Measure(
        "map_at_r",
        "mAP at R",
        "average precision, to which only matches among the first R references add; over all R",
        _MATCHED,
        _MUSGRAVE,
        False,
        lambda retrieval: retrieval.matches.average_precision_at_r,
    ),
    *(
        Measure(
            f"rank{k}",
            brief,
            f"a match by another camera {place} (CMC)",
            _CROSS_CAMERA,
            _MARKET,
            True,
            _found_within(k),
        )
        for k, brief, place in (
            (1, "across cameras", "comes first"),
            (5, "up to rank 5", "is among the first 5"),
            (10, "up to rank 10", "is among the first 10"),
        )
    ),
    Measure(
        "mAP",
        "mean average precision",
        "average precision of the matches by other cameras",
        _CROSS_CAMERA,
        _MARKET,
        False,
        lambda retrieval: retrieval.cross_camera.average_precision,
    ),
    Measure(
        "mINP",
        "mean inverse negative penalty",
        "matches by other cameras / rank of the last of them",
        _CROSS_CAMERA,
        'Ye et al., "Deep Learning for Person Re-identification: A Survey and Outlook", TPAMI 2021',
        False,
        lambda retrieval: _inverse_negative_penalty(retrieval.cross_camera),
    ),
    Measure(
        "reranked_rank1",
        "re-ranked",
        "a match by another camera comes first after k-reciprocal re-ranking (CMC)",
        _CROSS_CAMERA,
        _ZHONG,
        True,
        _if_reranked(lambda matches: _is_found_within(1, matches), across_cameras=True),
    ),
    Measure(
        "reranked_mAP",
        "mAP after re-ranking",
        "average precision of the matches by other cameras after k-reciprocal re-ranking",
        _CROSS_CAMERA,
        _ZHONG,
        False,
        _if_reranked(lambda matches: matches.average_precision, across_cameras=True),
    ),
)
