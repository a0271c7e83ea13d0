"""The cumulative match characteristic."""

from pathlib import Path

import numpy as np
import numpy.typing as npt
import pandas as pd
from matplotlib.axes import Axes

from src.report.cumulative_match import LAST_RANK, find_matches
from src.report.pictures.palette import RIGHT
from src.report.pictures.picture import CHART_WIDTH, PERCENT_AXIS, Picture, drawing
from src.report.wording import counted, percent

_NAMED_RANKS = (1, 5, 10, 20, 50)


def draw_cumulative_match(predictions: pd.DataFrame, path: Path) -> Picture:
    """Draw the share of queries whose first right reference is within the first k, over k.

    Args:
        predictions: as `tabulate_predictions` describes them; `find_matches` says which count.
        path: the PNG file to write.
    """
    matches = find_matches(predictions)
    queries = matches.queries
    last = min(LAST_RANK, matches.ranks.max(initial=1))
    shares = matches.shares(last)
    named = [rank for rank in _NAMED_RANKS if rank <= last]
    scope = "across cameras" if matches.across_cameras else "over all references"
    with drawing(path, CHART_WIDTH, 3.6) as figure:
        axes = figure.subplots()
        _draw_curve(axes, shares, named)
        axes.set_title(f"{counted(queries, 'query', 'queries')}, {scope}", loc="left")
    found = ", ".join(f"{percent(shares[rank - 1])} at rank {rank}" for rank in named)
    return Picture(
        path,
        f"Cumulative match characteristic {scope}",
        f"Share of {counted(queries, 'query', 'queries')} with a right reference among the first "
        f"k, {scope}: {found}.",
    )


def _draw_curve(axes: Axes, shares: npt.NDArray[np.float64], named: list[int]) -> None:
    ranks = np.arange(1, len(shares) + 1)
    axes.plot(ranks, shares, ".-", color=RIGHT, linewidth=1.5)
    for rank in named:
        point = (rank, shares[rank - 1])
        axes.plot(*point, "o", color=RIGHT)
        axes.annotate(percent(point[1]), point, (3, -14), textcoords="offset points")
    lowest = min(shares[0], 0.9)
    axes.set_xlim(0, 1.12 * len(shares) + 1)
    axes.set_ylim(lowest - 0.15 * (1 - lowest), 1 + 0.03 * (1 - lowest))
    axes.set_xticks([1, *range(5, len(shares) + 1, 5)])
    axes.set_xlabel("rank k")
    axes.set_ylabel("right reference among the first k")
    axes.yaxis.set_major_formatter(PERCENT_AXIS)
    axes.grid(axis="y")
