r"""Thresholds on the similarity that tell pairs of one identity from pairs of two, exactly.

A pair is accepted as one identity if its similarity is above the threshold. With S pairs of one
identity and D pairs of two,

.. math::
    \text{false accept rate}(t) = \frac{\#\{\text{two identities, similarity} > t\}}{D}, \qquad
    \text{false reject rate}(t) = \frac{\#\{\text{one identity, similarity} \le t\}}{S}.

The first pass over all pairs counts them in narrow bins, by an approximate similarity. That leaves
each threshold a few bins wide. A second pass scores the pairs in these bins.
"""

from typing import NamedTuple

import torch
from jaxtyping import Float64, Int64
from torch import Tensor

from ..search.scoring import Distance
from ..search.windows import Selection, select_impostors
from ..statistics.equal_error import EqualError, equal_error
from .ranking import ImpostorSketch
from .spread_sets import SpreadSets

PAIRS_PER_FALSE_ACCEPT = (100, 1_000, 10_000)


class WorkingPoint(NamedTuple):
    """A threshold that keeps an error rate at or below a target.

    Attributes:
        target: 1 error in this many.
        threshold: the lowest one; what is above it is accepted.
        rate: the error rate that it has.
    """

    target: int
    threshold: float
    rate: float


class Verification(NamedTuple):
    """How well a threshold tells pairs of one identity from pairs of two.

    Attributes:
        points: of the targets in `PAIRS_PER_FALSE_ACCEPT` that allow at least one false accept, in
            that order.
        equal_error: where both error rates are equal; None if there are no pairs of one kind.
    """

    points: tuple[WorkingPoint, ...]
    equal_error: EqualError | None


def lowest_threshold(similarity: Float64[Tensor, " N"], target: int) -> WorkingPoint:
    """Find the lowest threshold that at most 1 in `target` similarities exceed.

    Example:
        >>> lowest_threshold(torch.tensor([0.1, 0.4, 0.2, 0.3]).double(), 2)
        WorkingPoint(target=2, threshold=0.2, rate=0.5)
    """
    allowed = len(similarity) // target
    threshold = similarity.sort(descending=True).values[allowed]
    exceeding = int((similarity > threshold).sum())
    return WorkingPoint(target, float(threshold), exceeding / len(similarity))


@torch.no_grad()
def verify(
    sets: SpreadSets,
    same: Float64[Tensor, " S"],
    sketch: ImpostorSketch,
    *,
    distance: Distance,
) -> Verification:
    """Find all thresholds, in one pass over all pairs.

    Args:
        sets: queries and references.
        same: similarities of all pairs of one identity.
        sketch: of the similarities of all pairs of two.
        distance: what similarities are by.

    Returns:
        The same on every process.
    """
    different = int(sketch.counts.sum())
    if not (different and len(same)):
        return Verification((), None)
    same = same.sort().values
    targets = [target for target in PAIRS_PER_FALSE_ACCEPT if different >= target]
    windows = [_window_of_equal_error(same, sketch)]
    windows += [_window_of_rank(different // target + 1, sketch) for target in targets]
    ends = torch.tensor(windows).sort(dim=0).values
    found = _Scored.of(_select(sets, sketch.edges[ends.to(same.device)], distance))
    points = tuple(found.working_point(target, different) for target in targets)
    return Verification(points, found.equal_error(same, different, *windows[0], sketch.edges))


def _window_of_rank(rank: int, sketch: ImpostorSketch) -> tuple[int, int]:
    """Find edges between which the similarity lies that has a rank, from 1, among all pairs."""
    at_least = _at_least(sketch)
    place = int((at_least >= rank).sum()) - 1
    last = len(sketch.counts)
    return max(place - sketch.error, 0), min(place + 1 + sketch.error, last)


def _window_of_equal_error(same: Tensor, sketch: ImpostorSketch) -> tuple[int, int]:
    """Find edges between which the lowest threshold lies that rejects as often as it accepts."""
    at_least, last = _at_least(sketch), len(sketch.counts)
    edge = torch.arange(last + 1, device=same.device)
    reject = torch.searchsorted(same, sketch.edges, right=True) / len(same)
    most, least = (
        at_least[(edge + shift).clamp(0, last)] / at_least[0]
        for shift in (-sketch.error, sketch.error)
    )
    too_low = (reject < least).nonzero()[:, 0]
    return int(too_low[-1]) if len(too_low) else 0, int((reject < most).sum().clamp(max=last))


def _at_least(sketch: ImpostorSketch) -> Tensor:
    """Count the pairs that seem to be at or above each edge [B+1]."""
    return torch.nn.functional.pad(sketch.counts, (0, 1)).flip(0).cumsum(0).flip(0)


def _select(sets: SpreadSets, windows: Tensor, distance: Distance) -> tuple[Tensor, Selection]:
    """Score the pairs of all processes inside windows, which are returned, too."""
    here = Selection.none(windows)
    for query in sets.queries():
        for reference in sets.references():
            here += select_impostors(
                query.embedding,
                query.label,
                reference.embedding,
                reference.label,
                windows,
                distance=distance,
            )
            del reference  # before the next block is made
    above = sets.processes.total(here.above)
    found = Selection.none(windows)._replace(above=above)
    values, counts = (sets.processes.ragged(column) for column in here[1:])
    for value, count in zip(values, counts, strict=True):
        found += Selection(torch.zeros_like(above), value, count)
    return windows, found


class _Scored(NamedTuple):
    """Pairs of two identities in some windows.

    Attributes:
        low: lower ends of the windows.
        above: how many of all pairs are above each window, apart from scored ones.
        value: similarities of the scored pairs, ascending.
        at_least: how many of the scored pairs have at least each value; and 0.
    """

    low: Float64[Tensor, " W"]
    above: Int64[Tensor, " W"]
    value: Float64[Tensor, " M"]
    at_least: Int64[Tensor, " M+1"]

    @classmethod
    def of(cls, found: tuple[Tensor, Selection]) -> "_Scored":
        windows, (above, value, count) = found
        at_least = torch.nn.functional.pad(count, (0, 1)).flip(0).cumsum(0).flip(0)
        return cls(windows[:, 0].contiguous(), above.flip(0).cumsum(0).flip(0), value, at_least)

    def exceeding(self, threshold: Tensor) -> Tensor:
        """Count the pairs above each threshold [T] that lies in a window.

        Below a window, as at a scored pair just outside of it, the count may be too great.
        """
        window = (torch.searchsorted(self.low, threshold, right=True) - 1).clamp(min=0)
        place = torch.searchsorted(self.value, threshold, right=True)
        return self.at_least[place] + self.above[window]

    def working_point(self, target: int, pairs: int) -> WorkingPoint:
        exceeding = self.exceeding(self.value)
        lowest = int((exceeding > pairs // target).sum())
        return WorkingPoint(target, float(self.value[lowest]), int(exceeding[lowest]) / pairs)

    def equal_error(
        self, same: Tensor, pairs: int, first: int, last: int, edges: Tensor
    ) -> EqualError:
        """Compare the error rates at all similarities between two edges."""
        low = float(edges[first]) if first else -torch.inf
        near = [each[(each > low) & (each <= edges[last])] for each in (same, self.value)]
        threshold = torch.cat([same.new_tensor([low]), torch.cat(near).unique()])
        reject = torch.searchsorted(same, threshold, right=True) / len(same)
        accept = self.exceeding(threshold) / pairs
        return equal_error(*(each.double().cpu().numpy() for each in (threshold, reject, accept)))
