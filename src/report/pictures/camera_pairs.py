"""Accuracy by the cameras of the query and of its nearest reference."""

from pathlib import Path

import numpy as np
import numpy.typing as npt
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.colors import Normalize

from src.report.pictures.picture import CHART_WIDTH, PERCENT_AXIS, Picture, drawing
from src.report.wording import UNKNOWN, counted, percent

_COLOURS = "cividis"  # whose luminance rises all the way
_DARK_BELOW = 0.47  # white on the colours below and black on the others have the greater contrast
_CAMERAS_AT_MOST = 30
_CELL_WIDTH, _CELL_HEIGHT = 0.58, 0.48  # inches


def draw_camera_pairs(predictions: pd.DataFrame, path: Path) -> Picture | None:
    """Draw the share of right answers by camera of the query and of the nearest reference.

    Each cell holds that share and, as its denominator, the number of queries of the pair. Of very
    many cameras, those with the most queries are drawn.

    Args:
        predictions: as `tabulate_predictions` describes them.
        path: the PNG file to write.

    Returns:
        The picture, or None where no camera is known: then nothing is drawn.
    """
    known = predictions.dropna(subset=["camera", "nearest_camera"])
    if known.empty:
        return None
    for column in ("camera", "nearest_camera"):
        frequent = known[column].value_counts().index[:_CAMERAS_AT_MOST]
        known = known.loc[known[column].isin(frequent)]
    pairs = known.groupby(["camera", "nearest_camera"])["correct"].agg(["mean", "size"])
    shares, counts = pairs["mean"].unstack(), pairs["size"].unstack(fill_value=0)
    rows, columns = shares.shape
    width = max(CHART_WIDTH, 1.7 + columns * _CELL_WIDTH)
    with drawing(path, width, 1.2 + rows * _CELL_HEIGHT) as figure:
        axes = figure.subplots()
        lowest = min(0.9, np.floor(10 * pairs["mean"].min()) / 10)
        scale = Normalize(lowest, 1)
        image = axes.imshow(shares.to_numpy(float), _COLOURS, scale, aspect="auto")
        _write_cells(axes, shares.to_numpy(float), counts.to_numpy(int), scale)
        axes.set_xticks(range(columns), [str(camera) for camera in shares.columns])
        axes.set_yticks(range(rows), [str(camera) for camera in shares.index])
        axes.set_xlabel("camera of the nearest reference")
        axes.set_ylabel("camera of the query")
        axes.set_title("share of right answers, number of queries", loc="left")
        axes.tick_params(length=0)
        axes.spines[:].set_visible(False)
        bar = figure.colorbar(image, ax=axes, format=PERCENT_AXIS)
        bar.outline.set_visible(False)
    worst = pairs.sort_values(["mean", "size"], ascending=[True, False]).iloc[0]
    query_camera, nearest_camera = worst.name
    return Picture(
        path,
        "Accuracy by camera pair",
        f"Accuracy of {counted(len(known), 'query', 'queries')} by {rows} cameras of the query and "
        f"{columns} of the nearest reference. The lowest is {percent(worst['mean'])} of "
        f"{counted(int(worst['size']), 'query', 'queries')} of camera {query_camera} whose nearest "
        f"reference is of camera {nearest_camera}.",
    )


def _write_cells(
    axes: Axes,
    shares: npt.NDArray[np.float64],
    counts: npt.NDArray[np.int64],
    scale: Normalize,
) -> None:
    for (row, column), count in np.ndenumerate(counts):
        if count:
            share = shares[row, column]
            text = f"{percent(float(share), decimals=0)}\n{count:,}"
            colour = "white" if scale(share) < _DARK_BELOW else "black"
        else:
            text, colour = UNKNOWN, "black"
        axes.text(column, row, text, ha="center", va="center", fontsize=8.5, color=colour)
