"""Distributions of similarities, of one identity and of two, and the thresholds between them."""

from collections.abc import Sequence
from pathlib import Path
from typing import Literal, NamedTuple

import numpy as np
import numpy.typing as npt
from matplotlib.axes import Axes

from src.exact_retrieval.retrieval.ranking import SimilarityHistogram
from src.report.pictures.palette import RIGHT, WRONG, WRONG_HATCH
from src.report.pictures.picture import CHART_WIDTH, Picture, drawing
from src.report.wording import similarity_name
from src.report.working_points import Threshold

_BINS = 60
_LINE = 0.06  # height of a line of text, as a share of the axes'


class _Kind(NamedTuple):
    name: str
    colour: str
    line_style: Literal["-", "--"]
    hatch: str


_SAME = _Kind("pairs of one identity", RIGHT, "-", "")
_DIFFERENT = _Kind("pairs of two identities", WRONG, "--", WRONG_HATCH)


def draw_similarities(
    histogram: SimilarityHistogram | None,
    distance: str | None,
    thresholds: Sequence[Threshold],
    path: Path,
) -> Picture | None:
    """Draw the densities of the similarities of same-identity and different-identity pairs.

    Args:
        histogram: of the similarities of at least one pair, on the CPU.
        distance: what they are by.
        thresholds: to mark; pairs to the right of one are accepted.
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
        axes.set_xlabel(similarity_name(distance))
        axes.set_ylabel("density of pairs")
        axes.set_ylim(0, axes.get_ylim()[1] / (1 - _LINE * (len(thresholds) + 1)))
        for line, threshold in enumerate(thresholds):
            _mark(axes, threshold, 1 - _LINE * line)
            facts.append(str(threshold))
        figure.legend(loc="outside upper left", ncols=2)
    alt = f"Densities of the {similarity_name(distance)}: {'; '.join(facts)}."
    return Picture(path, "Similarities of query and reference, accepted above a threshold", alt)


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


def _mark(axes: Axes, threshold: Threshold, height: float) -> None:
    is_left = threshold.similarity < sum(axes.get_xlim()) / 2
    axes.axvline(threshold.similarity, color="black", linestyle=":", linewidth=1, ymax=height)
    axes.annotate(
        f"{threshold.errors}: {threshold.accepted}",
        (threshold.similarity, height),
        (4 if is_left else -4, 0),
        xycoords=axes.get_xaxis_transform(),
        textcoords="offset points",
        horizontalalignment="left" if is_left else "right",
        verticalalignment="top",
        fontsize=8.5,
        bbox={"facecolor": "white", "edgecolor": "none", "pad": 0.5},
    )
