"""Where in its ranking each query meets the references of its own identity.

The owner of a match, a reference of the query's identity, scores it; all processes count the
references they hold that rank no later; the counts add up to ranks.
"""

from typing import NamedTuple

import torch
from torch import Tensor

from ..search.neighbors import Neighbors
from ..search.pairs import rank_pairs
from ..search.ranking import count_at_or_before
from ..search.scoring import Distance, pair_similarity
from .spread_sets import Samples, SpreadSets

_TARGETS = 2**20  # matches that are ranked at once


class MatchRanks(NamedTuple):
    """The matches of every query, the queries in ascending order of index.

    References of a query's identity are its matches. Those that another camera took rank a second
    time, without those that its own camera took: Market-1501's protocol.

    Attributes:
        query_label: int64 [Q].
        similarity: float64 [Q] of the nearest match, `-inf` where there is none.
        first_rank: int64 [Q] of the nearest match, from 1; 0 where there is none.
        cross_camera_first_rank: int64 [Q]; 0 where there is no such match.
        average_precision: float64 [Q] of the cross-camera ranking, NaN where there is no match.
        inverse_negative_penalty: float64 [Q], likewise.
    """

    query_label: Tensor
    similarity: Tensor
    first_rank: Tensor
    cross_camera_first_rank: Tensor
    average_precision: Tensor
    inverse_negative_penalty: Tensor


class _Matches(NamedTuple):
    """Pairs [N] of a query in a block and a reference, by query and then by place in it."""

    query: Tensor
    index: Tensor  # type: ignore[assignment]  # the field hides tuple.index
    camera: Tensor
    similarity: Tensor
    place: Tensor


@torch.no_grad()
def rank_matches(sets: SpreadSets, *, distance: Distance) -> MatchRanks:
    """Rank the matches of all queries among all references.

    Args:
        sets: queries and references.
        distance: what to rank by.

    Returns:
        The same tensors on every process.

    Raises:
        ValueError: on every process, for embeddings that have no similarity.
    """
    most = int(sets.matches().max())
    columns = [
        _rank_block(query, sets, distance) for query in sets.queries(max(_TARGETS // (most + 1), 1))
    ]
    order = sets.query_index.argsort()
    ranked = (torch.cat(column)[order] for column in zip(*columns, strict=True))
    return MatchRanks(sets.query_label[order], *ranked)


def _rank_block(query: Samples, sets: SpreadSets, distance: Distance) -> tuple[Tensor, ...]:
    """Rank the matches of a block of queries; return the columns of `MatchRanks` for it."""
    matches = _find_matches(query, sets, distance)
    count = torch.bincount(matches.query, minlength=len(query.index))
    place = matches.place
    shape = len(count), max(int(count.max()), 1)
    target = Neighbors(
        torch.full(shape, -torch.inf, dtype=torch.float64, device=count.device),
        count.new_full(shape, -1),
    )
    target.similarity[matches.query, place] = matches.similarity
    target.index[matches.query, place] = matches.index

    def count_here() -> Tensor:
        total = torch.zeros_like(target.index)
        for reference in sets.references():
            total += count_at_or_before(
                query.embedding, reference.embedding, reference.index, target, distance=distance
            )
            del reference  # before the next block is made
        return total

    ranks = sets.processes.total(sets.processes.attempt(count_here))[matches.query, place]
    is_first = place == 0
    owner = matches.query[is_first]
    similarity = torch.full_like(count, -torch.inf, dtype=torch.float64)
    similarity[owner] = matches.similarity[is_first]
    first_rank = torch.zeros_like(count)
    first_rank[owner] = ranks[is_first]
    own_camera = matches.camera == query.camera[matches.query]
    return similarity, first_rank, *_cross_camera(matches.query, ranks, own_camera, count)


def _find_matches(query: Samples, sets: SpreadSets, distance: Distance) -> _Matches:
    """Score the references of each query's identity, and gather them from all processes."""

    def find_here() -> Tensor:
        parts = [query.index.new_empty((0, 4))]
        for reference in sets.references():
            i, j = _pairs_of_equals(query.label, reference.label)
            similarity = pair_similarity(
                query.embedding, reference.embedding, i, j, distance=distance
            )
            bits = similarity.view(torch.int64)
            parts.append(torch.stack([i, reference.index[j], reference.camera[j], bits], dim=1))
            del reference  # before the next block is made
        return torch.cat(parts)

    table = torch.cat(sets.processes.ragged(sets.processes.attempt(find_here)))
    i, index, camera, bits = table.T.contiguous()
    similarity = bits.view(torch.float64)
    order, place = rank_pairs(i, similarity, index)
    return _Matches(i[order], index[order], camera[order], similarity[order], place)


def _pairs_of_equals(first: Tensor, second: Tensor) -> tuple[Tensor, Tensor]:
    """All pairs of positions in first [N] and second [M] that hold the same number."""
    ordered, order = second.sort(stable=True)
    start = torch.searchsorted(ordered, first)
    count = torch.searchsorted(ordered, first, right=True) - start
    i = torch.repeat_interleave(count)
    return i, order[start[i] + _place_in_query(count)]


def _place_in_query(count: Tensor) -> Tensor:
    """Positions 0, 1, ... of each of count [Q] members, one query after another."""
    before = torch.repeat_interleave(count.cumsum(0) - count, count)
    return torch.arange(len(before), device=count.device) - before


def _cross_camera(
    query: Tensor, rank: Tensor, own_camera: Tensor, count: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    r"""Rank matches again without those of the query's own camera.

    With the remaining m matches at ranks :math:`\rho_1 < \dots < \rho_m`, the average precision is
    :math:`\frac1m \sum_i i / \rho_i` and the inverse negative penalty :math:`m / \rho_m`.

    Args:
        query: of each match [N], ascending.
        rank: of each match [N], ascending in a query.
        own_camera: whether the query's camera took the match [N].
        count: matches of each query [Q], those of its own camera included.

    Returns:
        First ranks [Q], 0 for none; average precisions and inverse negative penalties [Q], NaN for
        none.
    """
    start = count.cumsum(0) - count
    removed = own_camera.cumsum(0)
    removed -= torch.cat([removed.new_zeros(1), removed])[start[query]]
    rank, query = (rank - removed)[~own_camera], query[~own_camera]
    kept = torch.bincount(query, minlength=len(count))
    place = _place_in_query(kept) + 1
    first = torch.zeros_like(count)
    first[query[place == 1]] = rank[place == 1]
    last = torch.zeros_like(count)
    last[query[place == kept[query]]] = rank[place == kept[query]]
    total = torch.zeros_like(count, dtype=torch.float64)
    total.scatter_add_(0, query, place / rank.double())
    return first, total / kept, kept.double() / last
