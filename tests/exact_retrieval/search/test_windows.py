"""Windows against comparing every pair."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from src.exact_retrieval.search.products import Sides, Sizes
from src.exact_retrieval.search.windows import Inside, Survey, collect_windows, survey_windows
from tests.exact_retrieval.search.test_impostors import DISTANCES, KINDS, all_similarities, draw

SMALL = Sizes(multiplied=640, looked_at=240, fewest=1, held=5)


def draw_sides(kind: str, seed: int, *size: int) -> Sides:
    problem = draw(kind, seed, *size)
    return problem.sides


def impostors_of(sides: Sides, distance: str) -> Tensor:
    similarity = all_similarities(sides.query, sides.reference, distance)
    return similarity[sides.query_label[:, None] != sides.reference_label]


def windows_of(impostors: Tensor) -> list[tuple[float, float]]:
    """Between impostors, of one similarity alone, of none, and of all."""
    low, middle, high = impostors.quantile(torch.tensor([0.2, 0.5, 0.9]).double()).tolist()
    one = float(impostors.sort().values[len(impostors) // 3])
    greatest = float(impostors.max())
    return [
        (low, middle),
        (middle, high),
        (one, one),
        (greatest + 1, greatest + 2),
        (float(impostors.min()), greatest),
    ]


def check(found: list[Inside], impostors: Tensor, windows: list[tuple[float, float]]) -> None:
    for inside, (low, high) in zip(found, windows, strict=True):
        wanted = impostors[(impostors >= low) & (impostors <= high)]
        value, count = wanted.unique(return_counts=True)
        assert inside.above == (impostors > high).sum()
        assert torch.equal(inside.similarity, value)
        assert torch.equal(inside.count, count)


@pytest.mark.parametrize("sharp", [False, True])
@pytest.mark.parametrize("distance", DISTANCES)
@pytest.mark.parametrize("kind", KINDS)
def test_collects_what_is_inside(kind: str, distance: str, sharp: bool) -> None:
    sides = draw_sides(kind, 7)
    impostors = impostors_of(sides, distance)
    windows = windows_of(impostors)
    for sizes in (SMALL, Sizes()):
        found = collect_windows(sides, windows, distance=distance, sharp=sharp, sizes=sizes)
        check(found, impostors, windows)


@settings(max_examples=40, deadline=None)
@given(st.sampled_from(KINDS), st.sampled_from(DISTANCES), st.integers(0, 2**31), st.booleans())
def test_collects_what_is_inside_whatever_is_drawn(
    kind: str, distance: str, seed: int, sharp: bool
) -> None:
    sides = draw_sides(kind, seed, 1 + seed % 11, 1 + seed % 53, 2 + seed % 5)
    impostors = impostors_of(sides, distance)
    if len(impostors):
        windows = windows_of(impostors)
        check(collect_windows(sides, windows, distance=distance, sharp=sharp), impostors, windows)


def test_parts_join() -> None:
    sides = draw_sides("coarse", 3)
    impostors = impostors_of(sides, "euclidean")
    windows = windows_of(impostors)
    parts = [
        collect_windows(
            sides._replace(
                reference=sides.reference[part], reference_label=sides.reference_label[part]
            ),
            windows,
            distance="euclidean",
        )
        for part in (slice(0, 13), slice(13, 40))
    ]
    nothing = [Inside.nothing(sides.query.device)] * len(windows)
    joined = [Inside.join(some) for some in zip(nothing, *parts, strict=True)]
    check(joined, impostors, windows)


@pytest.mark.parametrize("distance", DISTANCES)
@pytest.mark.parametrize("kind", KINDS)
def test_a_survey_keeps_its_tolerance(kind: str, distance: str) -> None:
    sides = draw_sides(kind, 5)
    impostors = impostors_of(sides, distance)
    windows = [window for window in windows_of(impostors) if window[0] < window[1]]
    counts, tolerance = survey_windows(sides, windows, distance=distance, bins=9, sizes=SMALL)
    scale = float(impostors.abs().max())
    assert 0 < tolerance < 1e-11 * (1 if distance == "cosine" else 100 * scale)
    for window, bins in zip(windows, counts, strict=True):
        edges, count, error = Survey.sum_up(window, bins, float(tolerance))
        assert (float(edges[0]), float(edges[-1])) == window
        for edge, number in zip(edges, count, strict=True):
            assert (impostors > edge + error).sum() <= number
            assert (impostors >= edge - error).sum() >= number


def test_no_impostor() -> None:
    label = torch.zeros(5, dtype=torch.int64)
    sides = Sides(torch.randn(5, 3), label, torch.randn(5, 3), label)
    (inside,) = collect_windows(sides, [(-1.0, 1.0)], distance="cosine")
    assert inside.above == 0
    assert len(inside.similarity) == len(inside.count) == 0


def test_refuses_embeddings_without_similarity() -> None:
    label = torch.zeros(1, dtype=torch.int64)
    sides = Sides(torch.ones(1, 2), label, torch.zeros(1, 2), label)
    with pytest.raises(ValueError, match=r"`reference` should have no zero vector under cosine"):
        collect_windows(sides, [(0.0, 1.0)], distance="cosine")
