r"""Are two images of one person? Thresholds on the similarity of all pairs, exactly.

Whoever takes a query and a reference for one person if their similarity is *above* :math:`t` errs
with

.. math::
    \text{false accept rate}(t) &= \frac{\#\{\text{different identity, similarity} > t\}}
        {\#\{\text{different identity}\}} \\
    \text{false reject rate}(t) &= \frac{\#\{\text{same identity, similarity} \le t\}}
        {\#\{\text{same identity}\}}

The first never rises with :math:`t`, the second never falls. So a threshold is the lowest :math:`t`
from which on the two satisfy some condition, and it is the similarity of some pair. The pass that
ranked the references has also surveyed the similarities of all pairs of two identities,
approximately. That leaves a narrow window for each threshold. Windows that still hold too many
pairs are surveyed again, and one more pass collects the pairs in all windows.
"""

from bisect import bisect_left
from collections.abc import Callable, Iterator
from fractions import Fraction
from typing import NamedTuple

import torch
from jaxtyping import Float64
from torch import Tensor

from ..search.products import Sides
from ..search.scoring import Distance
from ..search.windows import Inside, Survey, Window, collect_windows, survey_windows
from .processes import Processes
from .ranking import Ranking
from .spread_sets import SpreadSets
from .working_points import WorkingPoint

FALSE_ACCEPTS_ONE_IN = (100, 1_000, 10_000)

_BINS = 2**16  # that windows which hold too many pairs are cut into
_HELD = 2**24  # pairs in all windows, from which on it is cheaper to survey them again
_SURVEYS = 2  # that at most follow on the first: each makes a window 2**16 times narrower

Suffices = Callable[[int, int], bool]
"""A condition on the numbers of same-identity pairs rejected and of others accepted."""


class EqualError(NamedTuple):
    r"""Where false rejects are as frequent as false accepts.

    Attributes:
        threshold: the lowest at which the false reject rate is not below the false accept rate.
        rate: where the ROC curve, with straight lines between its points, has equal error rates.
    """

    threshold: float
    rate: float


class Verification(NamedTuple):
    """How well a threshold tells pairs of one identity from pairs of two.

    Attributes:
        points: one for each of `FALSE_ACCEPTS_ONE_IN` that is not below one pair.
        equal_error: None where pairs of one kind are missing; then there are no points, either.
    """

    points: tuple[WorkingPoint, ...]
    equal_error: EqualError | None


NO_THRESHOLDS = Verification((), None)


@torch.no_grad()
def verify(sets: SpreadSets, ranking: Ranking, *, distance: Distance) -> Verification:
    """Find the thresholds of verification, over all pairs of a query and a reference.

    Args:
        sets: queries and references.
        ranking: what `rank_references` returned for them.
        distance: what similarities are by.

    Returns:
        The same on every process.
    """
    same = ranking.matches.similarity.cpu().sort().values
    genuine, impostors = len(same), int(ranking.histogram.different.sum())
    if not genuine or not impostors:
        return NO_THRESHOLDS
    targets = [one_in for one_in in FALSE_ACCEPTS_ONE_IN if impostors >= one_in]

    def at_most(one_in: int) -> Suffices:
        return lambda rejected, accepted: accepted * one_in <= impostors

    def rejects_as_often(rejected: int, accepted: int) -> bool:
        return rejected * impostors >= accepted * genuine

    conditions = [*map(at_most, targets), rejects_as_often]
    windows, sharp = _find_windows(sets, ranking.survey, same, conditions, distance)
    found = _collect(sets, windows, distance, sharp)
    *thresholds, equal = (
        _settle(inside, window, same, condition)
        for inside, window, condition in zip(found, windows, conditions, strict=True)
    )
    points = tuple(
        WorkingPoint(
            one_in=one_in,
            threshold=threshold.similarity,
            accepted=genuine - _count(same, threshold.similarity),
            genuine=genuine,
            false_accepts=threshold.above,
            impostors=impostors,
        )
        for one_in, threshold in zip(targets, thresholds, strict=True)
    )
    return Verification(points, _equal_error(equal, same, impostors))


class _Threshold(NamedTuple):
    """A similarity, how many impostors have a greater one, and how many the same."""

    similarity: float
    above: int
    tied: int


def _find_windows(
    sets: SpreadSets,
    survey: Survey,
    same: Tensor,
    conditions: list[Suffices],
    distance: Distance,
) -> tuple[list[Window], bool]:
    """Find a window for each threshold; also tell whether products in float64 are needed.

    Windows that hold too many pairs are surveyed again. After that they are as narrow as float64
    allows, and pairs that are still together tie, which takes no memory.
    """
    margin = survey.tolerance
    everything = float(survey.edges[0]) - margin, float(survey.edges[-1]) + margin
    windows = [_narrow(everything, survey, same, condition) for condition in conditions]
    surveys, surveyed = [survey] * len(windows), 0
    while sum(map(_count_inside, windows, surveys)) > _HELD and surveyed < _SURVEYS:
        surveys, surveyed = _survey(sets, windows, distance), surveyed + 1
        windows = [
            _narrow(window, survey, same, condition)
            for window, survey, condition in zip(windows, surveys, conditions, strict=True)
        ]
    return windows, surveyed > 0


def _narrow(window: Window, survey: Survey, same: Tensor, suffices: Suffices) -> Window:
    """Narrow a window that contains the lowest similarity at which a condition holds.

    An approximate similarity e stands for a similarity between e - tolerance and e + tolerance. So
    if the condition holds with the pairs at or above e, it holds at e + tolerance; if not, it holds
    nowhere below e - tolerance.
    """
    edges, counts = survey.edges.cpu(), survey.count.tolist()

    def first_edge(offset: float) -> int:
        rejected = torch.searchsorted(same, edges + offset, right=True).tolist()
        return bisect_left(
            range(len(edges)), True, key=lambda edge: suffices(rejected[edge], counts[edge])
        )

    low, high = window
    last, first = first_edge(-survey.tolerance) - 1, first_edge(survey.tolerance)
    if last >= 0:
        low = max(low, float(edges[last]) - survey.tolerance)
    if first < len(edges):
        high = min(high, float(edges[first]) + survey.tolerance)
    return low, high


def _count_inside(window: Window, survey: Survey) -> int:
    """Bound how many impostors may lie in a window."""
    bounds = survey.edges.new_tensor(window) + survey.edges.new_tensor([-1, 1]) * survey.tolerance
    low, high = torch.searchsorted(survey.edges, bounds, right=True).tolist()
    from_low = int(survey.count[max(low - 1, 0)])
    return from_low - (int(survey.count[high]) if high < len(survey.count) else 0)


def _settle(inside: Inside, window: Window, same: Tensor, suffices: Suffices) -> _Threshold:
    """Find the lowest similarity in a window at which a condition holds."""
    values, count = inside.similarity.cpu(), inside.count.cpu()
    low, high = window
    inside_too = same[_count(same, low, right=False) : _count(same, high)]
    candidates = torch.cat([values, inside_too]).unique()
    rejected = torch.searchsorted(same, candidates, right=True)
    upto = torch.cat([count.new_zeros(1), count.cumsum(0)])
    not_above = upto[torch.searchsorted(values, candidates, right=True)]
    accepted = int(inside.above) + int(upto[-1]) - not_above
    place = bisect_left(
        range(len(candidates)),
        True,
        key=lambda k: suffices(int(rejected[k]), int(accepted[k])),
    )
    similarity = candidates[place]
    tied = count[values == similarity].sum()
    return _Threshold(float(similarity), int(accepted[place]), int(tied))


def _equal_error(threshold: _Threshold, same: Tensor, impostors: int) -> EqualError:
    """Cross the line of the ROC curve on which the error rates become equal."""
    value, genuine = threshold.similarity, len(same)
    rejected = Fraction(_count(same, value), genuine)
    rejected_before = Fraction(_count(same, value, right=False), genuine)
    excess = rejected - Fraction(threshold.above, impostors)
    missing = Fraction(threshold.above + threshold.tied, impostors) - rejected_before
    rate = rejected_before + missing / (missing + excess) * (rejected - rejected_before)
    return EqualError(value, float(rate))


def _count(same: Float64[Tensor, " N"], value: float, *, right: bool = True) -> int:
    """Count the sorted similarities up to a value, or below it."""
    return int(torch.searchsorted(same, value, right=right))


def _survey(sets: SpreadSets, windows: list[Window], distance: Distance) -> list[Survey]:
    """Survey the windows over all processes."""
    counts = sets.query_label.new_zeros((len(windows), _BINS + 1))
    tolerance = torch.zeros((), dtype=torch.float64, device=counts.device)
    for sides in _all_sides(sets):
        found, error = survey_windows(sides, windows, distance=distance, bins=_BINS)
        counts += found
        tolerance = torch.maximum(tolerance, error)
    greatest = float(sets.processes.stack(tolerance).max())
    totals = sets.processes.total(counts)
    return [
        Survey.sum_up(window, bins, greatest) for window, bins in zip(windows, totals, strict=True)
    ]


def _collect(
    sets: SpreadSets, windows: list[Window], distance: Distance, sharp: bool
) -> list[Inside]:
    """Collect what is in the windows over all processes."""
    found = [Inside.nothing(sets.query_label.device) for _ in windows]
    for sides in _all_sides(sets):
        more = collect_windows(sides, windows, distance=distance, sharp=sharp)
        found = [Inside.join(parts) for parts in zip(found, more, strict=True)]
    return [_join_processes(inside, sets.processes) for inside in found]


def _join_processes(inside: Inside, processes: Processes) -> Inside:
    table = torch.stack([inside.similarity.view(torch.int64), inside.count], dim=1)
    bits, count = torch.cat(processes.ragged(table)).T.contiguous()
    everything = inside._replace(similarity=bits.view(torch.float64), count=count)
    return Inside.join([everything])._replace(above=processes.total(inside.above.clone()))


def _all_sides(sets: SpreadSets) -> Iterator[Sides]:
    """Pair all queries with the references of this process, block by block."""
    for query in sets.queries():
        for reference in sets.references():
            yield Sides(query.embedding, query.label, reference.embedding, reference.label)
