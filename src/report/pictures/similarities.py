"""Distributions of similarities, of one identity and of two."""

from pathlib import Path
from typing import Literal, NamedTuple

import numpy as np
import numpy.typing as npt
from matplotlib.axes import Axes

from src.exact_retrieval.retrieval.ranking import SimilarityHistogram
from src.exact_retrieval.statistics.equal_error import equal_error
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


def draw_similarities(
    histogram: SimilarityHistogram | None, distance: str | None, path: Path
) -> Picture | None:
    """Draw the densities of the similarities of same-identity and different-identity pairs.

    If there are pairs of both kinds, the threshold is marked at which their error rates are equal.

    Args:
        histogram: of the similarities of at least one pair, on the CPU.
        distance: what they are by.
        path: the PNG file to write.

    Returns:
        The picture, or None without a histogram: then nothing is drawn.
    """
    if histogram is None:
        return None
    edges, same, different = (column.numpy() for column in histogram)
    bounds = _coarse_bounds(same + different)
    facts = []
    with drawing(path, CHART_WIDTH, 3.6) as figure:
        axes = figure.subplots()
        for kind, counts in ((_SAME, same), (_DIFFERENT, different)):
            if counts.any():
                coarse = np.add.reduceat(counts[: bounds[-1]], bounds[:-1])
                _draw_density(axes, edges[bounds], coarse, kind)
                facts.append(_describe(edges, counts, kind))
        if same.any() and different.any():
            threshold, rate = equal_error(edges, same, different)
            _mark_equal_error(axes, threshold, rate)
            facts.append(f"at {threshold:.3f} either error rate is {percent(rate)}")
        axes.set_xlabel(similarity_name(distance))
        axes.set_ylabel("density of pairs")
        axes.set_ylim(0, axes.get_ylim()[1] * 1.25)
        figure.legend(loc="outside upper left", ncols=2)
    alt = f"Densities of the {similarity_name(distance)}: {'; '.join(facts)}."
    return Picture(path, "Similarities of query and reference", alt)


def _coarse_bounds(counts: npt.NDArray[np.int64]) -> list[int]:
    """Choose at most `_BINS` + 1 edges, so that the first and the last bin are not empty."""
    filled = np.flatnonzero(counts)
    end = int(filled[-1]) + 1
    step = -(-(end - int(filled[0])) // _BINS)
    return [*range(int(filled[0]), end, step), end]


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
