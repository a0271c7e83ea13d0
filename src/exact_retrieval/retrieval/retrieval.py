"""What one evaluation knows of every query, computed once."""

from dataclasses import dataclass
from functools import cached_property
from typing import Literal

import torch
from jaxtyping import Float64, Int64
from torch import Tensor

from ..search.scoring import Distance
from .matches import MatchRanks
from .nearest import NearestReferences, find_nearest
from .open_set import find_open_set_points
from .ranking import SimilarityHistogram, rank_references
from .reranking import KReciprocal, rerank
from .spread_sets import SpreadSets
from .verification import Verification, verify
from .working_points import WorkingPoint

Vote = Literal["majority", "weighted"]


@dataclass(frozen=True)
class Retrieval:
    """What one evaluation knows of each query, the queries in ascending order of index.

    Every measure, table and picture is a function of it.

    Attributes:
        distance: what references rank by.
        vote: how the nearest references vote for an identity.
        query_index: position of each query in its set.
        query_label: who is in each query.
        nearest: the k nearest references.
        nearest_euclidean: the nearest reference by euclidean distance.
        matches: ranks, among all references, of those of the query's identity.
        impostor_similarity: greatest similarity to a reference of another identity; `-inf` where
            there is none.
        histogram: of the similarities of all pairs.
        verification: thresholds on the similarities of all pairs.
        cameras_are_known: whether every query and reference has a camera.
        reranked: as `matches`, after re-ranking; None where none was asked for.
    """

    distance: Distance
    vote: Vote
    query_index: Int64[Tensor, " Q"]
    query_label: Int64[Tensor, " Q"]
    nearest: NearestReferences
    nearest_euclidean: NearestReferences
    matches: MatchRanks
    impostor_similarity: Float64[Tensor, " Q"]
    histogram: SimilarityHistogram
    verification: Verification
    cameras_are_known: bool
    reranked: MatchRanks | None = None

    @property
    def k(self) -> int:
        """The number of nearest references."""
        return self.nearest.index.shape[1]

    @cached_property
    def cross_camera(self) -> MatchRanks:
        """Rank the matches by other cameras, after those by the query's own have been removed.

        No query has one where the camera of any query or reference is unknown.
        """
        return self._across_cameras(self.matches)

    @cached_property
    def reranked_cross_camera(self) -> MatchRanks | None:
        """Rank the same matches, after re-ranking."""
        return None if self.reranked is None else self._across_cameras(self.reranked)

    def _across_cameras(self, matches: MatchRanks) -> MatchRanks:
        return matches.without(matches.is_own_camera | (not self.cameras_are_known))

    @cached_property
    def open_set(self) -> tuple[WorkingPoint, ...]:
        """Return the thresholds that few queries of unknown people exceed."""
        similarity, is_known = self.nearest.similarity[:, 0], self.matches.count > 0
        return find_open_set_points(similarity, self.nearest.is_right, is_known)

    @property
    def margin(self) -> Float64[Tensor, " Q"]:
        """Return the similarity of the nearest match minus that of the nearest impostor.

        NaN for a query that lacks one of them.
        """
        margin = self.matches.greatest_similarity - self.impostor_similarity
        return margin.where(margin.isfinite(), torch.nan)

    @property
    def is_blind(self) -> bool:
        """Tell whether no margin differs from 0, as where all embeddings are equal."""
        margin = self.margin
        known = margin[~margin.isnan()]
        return len(known) > 0 and bool((known == 0).all())


def retrieve(
    sets: SpreadSets,
    *,
    distance: Distance = "cosine",
    k: int = 1,
    vote: Vote = "majority",
    leave_one_out: bool = False,
    reranking: KReciprocal | None = None,
) -> Retrieval:
    """Find out all that an evaluation knows of each query.

    All pairs are compared three times, and up to twice more if very many of them have about the
    similarity of a threshold.

    Args:
        sets: queries and references, which may be spread over processes.
        distance: what references rank by.
        k: number of nearest references.
        vote: how they vote.
        leave_one_out: whether each query is one of the references, which it is not compared with.
        reranking: how to rank the matches once more; None not to.

    Returns:
        The same on every process.

    Raises:
        ValueError: on every process, for embeddings that have no similarity, and for re-ranking
            with `leave_one_out`.
    """
    check_reranking(reranking, leave_one_out)
    ranking = rank_references(sets, k=k, distance=distance, leave_one_out=leave_one_out)
    euclidean = ranking.nearest
    if distance != "euclidean":
        euclidean = find_nearest(sets, distance="euclidean", leave_one_out=leave_one_out)
    order = sets.query_index.argsort()
    return Retrieval(
        distance=distance,
        vote=vote,
        query_index=sets.query_index[order],
        query_label=sets.query_label[order],
        nearest=ranking.nearest,
        nearest_euclidean=euclidean,
        matches=ranking.matches,
        impostor_similarity=ranking.impostor_similarity,
        histogram=ranking.histogram,
        verification=verify(sets, ranking, distance=distance),
        cameras_are_known=sets.cameras_are_known(),
        reranked=None if reranking is None else rerank(sets, reranking),
    )


def check_reranking(reranking: KReciprocal | None, leave_one_out: bool) -> None:
    """Refuse to re-rank images of one set, for which it is not defined.

    Raises:
        ValueError: if both are asked for.
    """
    if reranking is not None and leave_one_out:
        raise ValueError(
            "`reranking` should be none where each image is compared with all others: it needs "
            "queries and references"
        )
