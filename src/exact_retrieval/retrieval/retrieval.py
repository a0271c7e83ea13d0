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
from .ranking import SimilarityHistogram, rank_references
from .spread_sets import SpreadSets

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
        cameras_are_known: whether every query and reference has a camera.
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
    cameras_are_known: bool

    @property
    def k(self) -> int:
        """The number of nearest references."""
        return self.nearest.index.shape[1]

    @cached_property
    def cross_camera(self) -> MatchRanks:
        """Rank the matches by other cameras, after those by the query's own have been removed.

        No query has one where the camera of any query or reference is unknown.
        """
        is_own = self.matches.is_own_camera
        return self.matches.without(is_own | (not self.cameras_are_known))

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
) -> Retrieval:
    """Find out all that an evaluation knows of each query, in three passes over all pairs.

    Args:
        sets: queries and references, which may be spread over processes.
        distance: what references rank by.
        k: number of nearest references.
        vote: how they vote.
        leave_one_out: whether each query is one of the references, which it is not compared with.

    Returns:
        The same on every process.

    Raises:
        ValueError: on every process, for embeddings that have no similarity.
    """
    without: Literal["index"] | None = "index" if leave_one_out else None
    nearest = find_nearest(sets, distance=distance, k=k, without=without)
    euclidean = nearest
    if distance != "euclidean":
        euclidean = find_nearest(sets, distance="euclidean", without=without)
    ranking = rank_references(sets, distance=distance, leave_one_out=leave_one_out)
    order = sets.query_index.argsort()
    return Retrieval(
        distance=distance,
        vote=vote,
        query_index=sets.query_index[order],
        query_label=sets.query_label[order],
        nearest=nearest,
        nearest_euclidean=euclidean,
        matches=ranking.matches,
        impostor_similarity=ranking.impostor_similarity,
        histogram=ranking.histogram,
        cameras_are_known=sets.cameras_are_known(),
    )
