"""Distributions of similarities, of one identity and of two."""

from pathlib import Path
from typing import Literal, NamedTuple

import numpy as np
import numpy.typing as npt
from matplotlib.axes import Axes

from src.report.equal_error import equal_error
from src.report.outcomes import Outcomes, SimilarityHistogram
from src.report.pictures.palette import RIGHT, WRONG, WRONG_HATCH
from src.report.pictures.picture import CHART_WIDTH, Picture, drawing
from src.report.wording import percent, similarity_name


class _Kind(NamedTuple):
    name: str
    counts: npt.NDArray[np.int64]
    colour: str
    line_style: Literal["-", "--"]
    hatch: str


def draw_similarities(outcomes: Outcomes, path: Path) -> Picture:
    """Draw the densities of the similarities of same-identity and different-identity pairs.

    Where there are pairs of both kinds, the threshold is marked at which their error rates are
    equal.

    Args:
        outcomes: what became of every query, with at least one pair.
        path: the PNG file to write.
    """
    histogram = _without_empty_ends(outcomes.similarities)
    name = similarity_name(outcomes.distance)
    kinds = [
        kind
        for kind in (
            _Kind("pairs of one identity", histogram.same, RIGHT, "-", ""),
            _Kind("pairs of two identities", histogram.different, WRONG, "--", WRONG_HATCH),
        )
        if kind.counts.any()
    ]
    facts = [_describe(kind, histogram.edges) for kind in kinds]
    with drawing(path, CHART_WIDTH, 3.6) as figure:
        axes = figure.subplots()
        for kind in kinds:
            _draw_density(axes, histogram.edges, kind)
        if len(kinds) == 2:
            threshold, rate = equal_error(histogram)
            axes.axvline(threshold, color="black", linestyle=":")
            label = f" {percent(rate)} err either way\n at {threshold:.3f}"
            axes.text(threshold, 0.99, label, va="top", transform=axes.get_xaxis_transform())
            facts.append(f"at {threshold:.3f} either error rate is {percent(rate)}")
        axes.set_xlabel(name)
        axes.set_ylabel("density of pairs")
        axes.set_ylim(0, axes.get_ylim()[1] * 1.25)
        figure.legend(loc="outside upper left", ncols=2)
    alt = f"Densities of the {name}: {'; '.join(facts)}."
    return Picture(path, "Similarities of query and reference", alt)


def _without_empty_ends(histogram: SimilarityHistogram) -> SimilarityHistogram:
    filled = np.flatnonzero(histogram.same + histogram.different)
    bins = slice(filled[0], filled[-1] + 1)
    edges = histogram.edges[filled[0] : filled[-1] + 2]
    return SimilarityHistogram(edges, histogram.same[bins], histogram.different[bins])


def _describe(kind: _Kind, edges: npt.NDArray[np.float64]) -> str:
    mean = np.average((edges[1:] + edges[:-1]) / 2, weights=kind.counts)
    return f"{kind.counts.sum():,} {kind.name} with a mean of {mean:.3f}"


def _draw_density(axes: Axes, edges: npt.NDArray[np.float64], kind: _Kind) -> None:
    density = kind.counts / (kind.counts.sum() * np.diff(edges))
    axes.stairs(density, edges, fill=True, color=kind.colour, alpha=0.2, hatch=kind.hatch)
    axes.stairs(
        density,
        edges,
        color=kind.colour,
        linewidth=1.5,
        linestyle=kind.line_style,
        label=kind.name,
    )
