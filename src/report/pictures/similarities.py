"""Distributions of similarities, of one identity and of two."""

from pathlib import Path
from typing import Literal, NamedTuple

import numpy as np
import numpy.typing as npt
from matplotlib.axes import Axes

from src.exact_retrieval.retrieval.similarity_histogram import SimilarityHistogram
from src.report.equal_error import equal_error
from src.report.pictures.palette import RIGHT, WRONG, WRONG_HATCH
from src.report.pictures.picture import CHART_WIDTH, Picture, drawing
from src.report.wording import percent, similarity_name

_BINS = 60


class _Kind(NamedTuple):
    name: str
    colour: str
    line_style: Literal["-", "--"]
    hatch: str


_SAME = _Kind("pairs of one identity", RIGHT, "-", "")
_DIFFERENT = _Kind("pairs of two identities", WRONG, "--", WRONG_HATCH)


def draw_similarities(fine: SimilarityHistogram, distance: str, path: Path) -> Picture:
    """Draw the densities of the similarities of same-identity and different-identity pairs.

    Where there are pairs of both kinds, the threshold is marked at which their error rates are
    equal.

    Args:
        fine: of the similarities of at least one pair.
        distance: what they are by.
        path: the PNG file to write.
    """
    coarse = _coarsened(fine)
    name = similarity_name(distance)
    facts = []
    with drawing(path, CHART_WIDTH, 3.6) as figure:
        axes = figure.subplots()
        if fine.same.any():
            _draw_density(axes, coarse.edges, coarse.same, _SAME)
            facts.append(_describe(fine.edges, fine.same, _SAME))
        if fine.different.any():
            _draw_density(axes, coarse.edges, coarse.different, _DIFFERENT)
            facts.append(_describe(fine.edges, fine.different, _DIFFERENT))
        if fine.same.any() and fine.different.any():
            threshold, rate = equal_error(fine)
            _mark_equal_error(axes, threshold, rate)
            facts.append(f"at {threshold:.3f} either error rate is {percent(rate)}")
        axes.set_xlabel(name)
        axes.set_ylabel("density of pairs")
        axes.set_ylim(0, axes.get_ylim()[1] * 1.25)
        figure.legend(loc="outside upper left", ncols=2)
    alt = f"Densities of the {name}: {'; '.join(facts)}."
    return Picture(path, "Similarities of query and reference", alt)


def _coarsened(histogram: SimilarityHistogram) -> SimilarityHistogram:
    """Leave out empty bins at both ends, and merge neighbouring ones to at most `_BINS`."""
    filled = np.flatnonzero(histogram.same + histogram.different)
    end = filled[-1] + 1
    starts = np.arange(filled[0], end, -(-(end - filled[0]) // _BINS))
    same, different = (
        np.add.reduceat(counts[:end], starts) for counts in (histogram.same, histogram.different)
    )
    return SimilarityHistogram(histogram.edges[[*starts, end]], same, different)


def _describe(edges: npt.NDArray[np.float64], counts: npt.NDArray[np.int64], kind: _Kind) -> str:
    mean = np.average((edges[1:] + edges[:-1]) / 2, weights=counts)
    return f"{counts.sum():,} {kind.name} with a mean of {mean:.3f}"


def _draw_density(
    axes: Axes, edges: npt.NDArray[np.float64], counts: npt.NDArray[np.int64], kind: _Kind
) -> None:
    density = counts / (counts.sum() * np.diff(edges))
    axes.stairs(density, edges, fill=True, color=kind.colour, alpha=0.2, hatch=kind.hatch)
    axes.stairs(
        density,
        edges,
        color=kind.colour,
        linewidth=1.5,
        linestyle=kind.line_style,
        label=kind.name,
    )


def _mark_equal_error(axes: Axes, threshold: float, rate: float) -> None:
    axes.axvline(threshold, color="black", linestyle=":")
    label = f" equal error rate {percent(rate)}\n at {threshold:.3f}"
    axes.text(threshold, 0.99, label, va="top", transform=axes.get_xaxis_transform())
