"""All measures of a retrieval. An entry holds whatever is said of its measure anywhere.

A measure is a mean of one value per query, each of which may count as often as the query has
matches. Its entry gives the values as a function of a `Retrieval`. The metrics, the intervals and
the rows of all tables come from the entries.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass

import torch
from jaxtyping import Float64, Int64
from torch import Tensor

from .matches import MatchRanks
from .nearest import NearestReferences
from .open_set import FALSE_POSITIVES_ONE_IN
from .retrieval import Retrieval, Vote
from .verification import FALSE_ACCEPTS_ONE_IN, Verification
from .working_points import WorkingPoint, share_name

_TEMPERATURE = 0.07
_COVER_HART = 'Cover and Hart, "Nearest Neighbor Pattern Classification", IEEE TIT 1967'
_MUSGRAVE = 'Musgrave et al., "A Metric Learning Reality Check", ECCV 2020'
_ZHONG = 'Zhong et al., "Re-ranking Person Re-identification with k-reciprocal Encoding", CVPR 2017'
_MARKET = 'Zheng et al., "Scalable Person Re-identification: A Benchmark", ICCV 2015'
_KLARE = (
    'Klare et al., "Pushing the Frontiers of Unconstrained Face Detection and Recognition: IARPA '
    'Janus Benchmark A", CVPR 2015'
)
_GROTHER_NGAN = (
    'Grother and Ngan, "Face Recognition Vendor Test: Performance of Face Identification '
    'Algorithms", NIST IR 8009, 2014'
)


@dataclass(frozen=True)
class Measure:
    """A mean over queries, or over pairs of a query and a match.

    Attributes:
        name: under which it is logged.
        brief: in a few words, after "212 of 264" if it is a share. Braces name an attribute of the
            retrieval.
        meaning: what the mean is of, in full; braces likewise.
        denominator: what it is a mean over, by its name in `DENOMINATORS`.
        source: of the definition.
        is_share: whether every value is 0 or 1, so that the mean is a share of the queries.
        values: of every query; NaN for queries outside the denominator.
        over_matches: whether a query counts as often as it has matches. Its value then is the mean
            over these.
        needs: fewest of something that has to be there, too, in words; None for nothing else.
        is_optional: whether users have to ask for it.
    """

    name: str
    brief: str
    meaning: str
    denominator: str
    source: str
    is_share: bool
    values: Callable[[Retrieval], Float64[Tensor, " Q"]]
    over_matches: bool = False
    needs: str | None = None
    is_optional: bool = False


@dataclass(frozen=True)
class Measured:
    """A measure of one retrieval.

    Attributes:
        measure: which one.
        values: of every query; NaN for queries outside the denominator.
        weights: how often each query counts; None for once.
    """

    measure: Measure
    values: Float64[Tensor, " Q"]
    weights: Int64[Tensor, " Q"] | None = None

    @property
    def size(self) -> int:
        """The size of the denominator."""
        counted = ~self.values.isnan()
        return int(counted.sum() if self.weights is None else self.weights[counted].sum())

    @property
    def mean(self) -> Tensor:
        """The measure as a float32 scalar in [0, 1]."""
        counted = ~self.values.isnan()
        values = self.values[counted]
        if self.weights is None:
            return values.mean().float()
        weights = self.weights[counted]
        return ((values * weights).sum() / weights.sum()).float()


def measure_all(retrieval: Retrieval) -> list[Measured]:
    """Measure a retrieval in every way for which it has a denominator, in a fixed order."""
    count = retrieval.matches.count
    measured = [
        Measured(measure, measure.values(retrieval), count if measure.over_matches else None)
        for measure in MEASURES
    ]
    return [each for each in measured if each.size]


def count_denominators(retrieval: Retrieval) -> dict[str, int]:
    """Count what is in each denominator, by the name under which the number is logged."""
    counts = {
        _ALL: len(retrieval.query_label),
        _MATCHED: int((retrieval.matches.count > 0).sum()),
        _PAIRS: int(retrieval.matches.count.sum()),
    }
    if retrieval.cameras_are_known:
        counts[_CROSS_CAMERA] = int((retrieval.cross_camera.count > 0).sum())
    return counts


def describe_thresholds(
    verification: Verification, open_set: Iterable[WorkingPoint]
) -> dict[str, float]:
    """Return all thresholds and the error rates at them, by the names that they are logged by."""
    numbers = {}
    for name, points in (("far", verification.points), ("fpir", open_set)):
        for point in points:
            numbers[f"{name}_{share_name(point.one_in)}_threshold"] = point.threshold
            numbers[f"{name}_{share_name(point.one_in)}_achieved"] = point.false_rate
    if verification.equal_error is not None:
        numbers["eer"] = verification.equal_error.rate
        numbers["eer_threshold"] = verification.equal_error.threshold
    return numbers


def elect(found: NearestReferences, vote: Vote) -> Int64[Tensor, " Q"]:
    """Find the label that the neighbours of each query vote for.

    Of labels with equally many votes, the one whose nearest reference is nearest wins. A weighted
    vote counts ``exp((similarity - greatest similarity) / 0.07)`` (Wu et al., "Unsupervised Feature
    Learning via Non-Parametric Instance Discrimination", CVPR 2018, section 3.4).

    Returns:
        The labels; -1 for a query without neighbours.
    """
    voters = max(int((found.index >= 0).sum(dim=1).max()), 1)  # of k, which may be far more
    similarity, index, label = (field[:, :voters] for field in found[1:])
    weight = (index >= 0).double()
    if vote == "weighted":
        weight *= ((similarity - similarity[:, :1]) / _TEMPERATURE).exp().nan_to_num(0)
    votes = torch.zeros_like(weight)
    for place in range(voters):
        votes += (label == label[:, place, None]) * weight[:, place, None]
    places = torch.arange(voters, device=votes.device).expand_as(votes)
    winner = places.where(votes == votes.amax(dim=1, keepdim=True), voters).amin(dim=1)
    return label.gather(1, winner[:, None])[:, 0]


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


def _above(
    points: Callable[[Retrieval], Iterable[WorkingPoint]],
    one_in: int,
    values: Callable[[Retrieval, float], Tensor],
) -> Callable[[Retrieval], Tensor]:
    """Pass on the threshold of a working point; NaN for every query where there is none."""

    def values_above(retrieval: Retrieval) -> Tensor:
        for point in points(retrieval):
            if point.one_in == one_in:
                return values(retrieval, point.threshold)
        return torch.full_like(retrieval.impostor_similarity, torch.nan)

    return values_above


def _accepted_share(retrieval: Retrieval, threshold: float) -> Tensor:
    is_accepted = retrieval.matches.similarity > threshold
    return retrieval.matches.average(is_accepted.double())


def _is_identified(retrieval: Retrieval, threshold: float) -> Tensor:
    is_above = retrieval.nearest.similarity[:, 0] > threshold
    identified = (retrieval.nearest.is_right & is_above).double()
    return identified.where(retrieval.matches.count > 0, torch.nan)


def _inverse_negative_penalty(matches: MatchRanks) -> Tensor:
    return matches.count.double() / matches.last  # 0 / 0 is NaN


_ALL, _MATCHED, _CROSS_CAMERA = "queries", "matched_queries", "cross_camera_queries"
_PAIRS = "same_identity_pairs"

DENOMINATORS = {
    _ALL: "all queries",
    _MATCHED: "queries whose identity a reference has",
    _CROSS_CAMERA: "queries with a match by another camera",
    _PAIRS: "pairs of a query and a reference of its identity",
}

MEASURES = (
    Measure(
        name="acc",
        brief="by {distance}",
        meaning="the nearest reference, by {distance}, has the query's identity",
        denominator=_ALL,
        source=_COVER_HART,
        is_share=True,
        values=lambda retrieval: retrieval.nearest.is_right.double(),
    ),
    Measure(
        name="acc_euclidean",
        brief="by euclidean",
        meaning="the nearest reference, by euclidean distance, has the query's identity",
        denominator=_ALL,
        source=_COVER_HART,
        is_share=True,
        values=lambda retrieval: retrieval.nearest_euclidean.is_right.double(),
    ),
    Measure(
        name="knn_acc",
        brief="by vote of {k}",
        meaning="the {k} nearest references vote for the query's identity ({vote})",
        denominator=_ALL,
        source=_COVER_HART,
        is_share=True,
        values=_is_elected,
    ),
    Measure(
        name="reranked_acc",
        brief="re-ranked",
        meaning="the nearest reference after k-reciprocal re-ranking has the query's identity",
        denominator=_ALL,
        source=_ZHONG,
        is_share=True,
        values=_if_reranked(lambda matches: (matches.first == 1).double(), across_cameras=False),
        is_optional=True,
    ),
    Measure(
        name="map_all",
        brief="mAP over all references",
        meaning="average precision of all references of the query's identity, cameras aside",
        denominator=_MATCHED,
        source=(
            'Manning, Raghavan and Schütze, "Introduction to Information Retrieval", 2008, '
            "section 8.4"
        ),
        is_share=False,
        values=lambda retrieval: retrieval.matches.average_precision,
    ),
    Measure(
        name="r_precision",
        brief="R-precision",
        meaning=(
            "share of right ones among the first R references, R being how many have the identity"
        ),
        denominator=_MATCHED,
        source=_MUSGRAVE,
        is_share=False,
        values=lambda retrieval: retrieval.matches.r_precision,
    ),
    Measure(
        name="map_at_r",
        brief="mAP at R",
        meaning=(
            "average precision, to which only matches among the first R references add; over all R"
        ),
        denominator=_MATCHED,
        source=_MUSGRAVE,
        is_share=False,
        values=lambda retrieval: retrieval.matches.average_precision_at_r,
    ),
    *(
        Measure(
            name=f"tpir_fpir_{share_name(one_in)}",
            brief=f"at FPIR {share_name(one_in)}",
            meaning=(
                "the nearest reference has the identity, and is above the lowest threshold that "
                f"at most 1 in {one_in} queries of unknown people exceed"
            ),
            denominator=_MATCHED,
            source=_GROTHER_NGAN,
            is_share=True,
            values=_above(lambda retrieval: retrieval.open_set, one_in, _is_identified),
        )
        for one_in in FALSE_POSITIVES_ONE_IN
    ),
    *(
        Measure(
            name=f"rank{k}",
            brief=brief,
            meaning=f"a match by another camera {place} (CMC)",
            denominator=_CROSS_CAMERA,
            source=_MARKET,
            is_share=True,
            values=_found_within(k),
        )
        for k, brief, place in (
            (1, "across cameras", "comes first"),
            (5, "up to rank 5", "is among the first 5"),
            (10, "up to rank 10", "is among the first 10"),
        )
    ),
    Measure(
        name="mAP",
        brief="mean average precision",
        meaning="average precision of the matches by other cameras",
        denominator=_CROSS_CAMERA,
        source=_MARKET,
        is_share=False,
        values=lambda retrieval: retrieval.cross_camera.average_precision,
    ),
    Measure(
        name="mINP",
        brief="mean inverse negative penalty",
        meaning="matches by other cameras / rank of the last of them",
        denominator=_CROSS_CAMERA,
        source=(
            'Ye et al., "Deep Learning for Person Re-identification: A Survey and Outlook", '
            "TPAMI 2021"
        ),
        is_share=False,
        values=lambda retrieval: _inverse_negative_penalty(retrieval.cross_camera),
    ),
    *(
        Measure(
            name=f"tar_far_{share_name(one_in)}",
            brief=f"pairs accepted at FAR {share_name(one_in)}",
            meaning=(
                "the similarity is above the lowest threshold that at most "
                f"1 in {one_in:,} pairs of two identities exceed"
            ),
            denominator=_PAIRS,
            source=_KLARE,
            is_share=False,
            values=_above(lambda retrieval: retrieval.verification.points, one_in, _accepted_share),
            over_matches=True,
            needs=f"{one_in:,} pairs of two identities",
        )
        for one_in in FALSE_ACCEPTS_ONE_IN
    ),
    Measure(
        name="reranked_rank1",
        brief="re-ranked",
        meaning="a match by another camera comes first after k-reciprocal re-ranking (CMC)",
        denominator=_CROSS_CAMERA,
        source=_ZHONG,
        is_share=True,
        values=_if_reranked(lambda matches: _is_found_within(1, matches), across_cameras=True),
        is_optional=True,
    ),
    Measure(
        name="reranked_mAP",
        brief="mAP after re-ranking",
        meaning="average precision of the matches by other cameras after k-reciprocal re-ranking",
        denominator=_CROSS_CAMERA,
        source=_ZHONG,
        is_share=False,
        values=_if_reranked(lambda matches: matches.average_precision, across_cameras=True),
        is_optional=True,
    ),
)
