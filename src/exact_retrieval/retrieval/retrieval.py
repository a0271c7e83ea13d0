"""What one evaluation knows of every query, computed once."""

from dataclasses import dataclass
from functools import cached_property
from typing import Literal, NamedTuple

import torch
from jaxtyping import Bool, Float64, Int64
from torch import Tensor

from ..search.scoring import Distance
from .matches import MatchRanks
from .nearest import NearestReferences, find_nearest
from .ranking import rank_references
from .spread_sets import SpreadSets

Vote = Literal["majority", "weighted"]


class SimilarityHistogram(NamedTuple):
    """Counts of all pairs of a query and a reference, by their similarity.

    A bin holds its lower edge; the last one holds its upper edge, too.

    Attributes:
        edges: of the bins, ascending in equal steps.
        same: pairs of one identity.
        different: pairs of two identities.
    """

    edges: Float64[Tensor, " B+1"]
    same: Int64[Tensor, " B"]
    different: Int64[Tensor, " B"]


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
        match_similarity: of each match.
        is_own_camera: whether the query's own camera took the match; true for all where the
            camera of any query or reference is unknown.
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
    match_similarity: Float64[Tensor, " N"]
    is_own_camera: Bool[Tensor, " N"]
    impostor_similarity: Float64[Tensor, " Q"]
    histogram: SimilarityHistogram
    cameras_are_known: bool

    @property
    def k(self) -> int:
        """The number of nearest references."""
        return self.nearest.index.shape[1]

    @cached_property
    def cross_camera(self) -> MatchRanks:
        """Ranks of the matches by other cameras, among the references without those by its own.

        No query has one where a camera is unknown.
        """
        return self.matches.without(self.is_own_camera)

    @property
    def margin(self) -> Float64[Tensor, " Q"]:
        """Similarity of the nearest match minus that of the nearest impostor.

        NaN for a query that lacks one of them.
        """
        has_match = self.matches.count > 0
        first = self.matches.count.cumsum(0) - self.matches.count
        similarity = torch.full_like(self.impostor_similarity, torch.nan)
        similarity[has_match] = self.match_similarity[first[has_match]]
        margin = similarity - self.impostor_similarity
        return margin.where(margin.isfinite(), torch.nan)


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
    ranked = rank_references(sets, distance=distance, leave_one_out=leave_one_out)
    order = sets.query_index.argsort()
    cameras_are_known = sets.cameras_are_known()
    return Retrieval(
        distance=distance,
        vote=vote,
        query_index=sets.query_index[order],
        query_label=sets.query_label[order],
        nearest=nearest,
        nearest_euclidean=euclidean,
        matches=ranked.matches,
        match_similarity=ranked.match_similarity,
        is_own_camera=ranked.is_own_camera | (not cameras_are_known),
        impostor_similarity=ranked.impostor_similarity,
        histogram=SimilarityHistogram(ranked.edges, ranked.same, ranked.different),
        cameras_are_known=cameras_are_known,
    )
