"""Strips of images with a frame and a caption each."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal, NamedTuple

import numpy as np
import numpy.typing as npt
from matplotlib.axes import Axes
from matplotlib.patches import Rectangle

from src.images import decode, read_file
from src.report.pictures.palette import LEFT_OUT, QUERY, RIGHT, RIGHT_SIGN, WRONG, WRONG_SIGN
from src.report.pictures.picture import drawing

# In inches.
_IMAGE_WIDTH, _IMAGE_HEIGHT = 0.55, 1.1
_CAPTION_WIDTH = 0.75
_GAP = 0.1
_HEADING_HEIGHT = 0.3

_CELL_WIDTH = _IMAGE_WIDTH + _CAPTION_WIDTH + _GAP
_CELL_HEIGHT = _IMAGE_HEIGHT + _GAP


Frame = Literal["query", "right", "wrong", "left out"]


class Tile(NamedTuple):
    """One image of a strip.

    Attributes:
        path: the image file.
        caption: short lines that stand beside it.
        frame: what the image is: the query, an answer, or a reference that is left out.
    """

    path: Path
    caption: str
    frame: Frame


class _Frame(NamedTuple):
    colour: str
    line_style: Literal["-", "--", ":"]
    line_width: float
    sign: str


_FRAMES = {
    "query": _Frame(QUERY, "-", 1.0, ""),
    "right": _Frame(RIGHT, "-", 2.5, RIGHT_SIGN),
    "wrong": _Frame(WRONG, "--", 2.5, WRONG_SIGN),
    "left out": _Frame(LEFT_OUT, ":", 2.5, ""),
}


def draw_strips(rows: Sequence[Sequence[Tile]], path: Path, headings: Sequence[str] = ()) -> None:
    """Draw one strip of images below the other.

    Right answers have a solid blue frame and a tick, wrong ones a dashed vermillion frame and a
    cross, and those that are left out a dotted grey frame. In place of a file that cannot be read
    stands "missing".

    Args:
        rows: the strips, each with at least one tile; they may differ in length.
        path: the PNG file to write.
        headings: of the columns.
    """
    width = max(map(len, rows)) * _CELL_WIDTH + _GAP
    top = _GAP + (_HEADING_HEIGHT if headings else 0)
    height = top + len(rows) * _CELL_HEIGHT
    with drawing(path, width, height) as figure:
        figure.set_layout_engine("none")
        axes = figure.add_axes((0, 0, 1, 1))
        axes.set_axis_off()
        axes.set(xlim=(0, width), ylim=(height, 0))
        for column, heading in enumerate(headings):
            _write(axes, _left(column), _GAP, heading, weight="bold")
        for row, tiles in enumerate(rows):
            for column, tile in enumerate(tiles):
                _draw_tile(axes, tile, _left(column), top + row * _CELL_HEIGHT)


def _left(column: int) -> float:
    return _GAP + column * _CELL_WIDTH


def _draw_tile(axes: Axes, tile: Tile, x: float, y: float) -> None:
    frame = _FRAMES[tile.frame]
    pixels = _read(tile.path)
    if pixels is None:
        middle = (x + _IMAGE_WIDTH / 2, y + _IMAGE_HEIGHT / 2)
        axes.text(*middle, "missing", ha="center", va="center", fontsize=8, style="italic")
    else:
        extent = (x, x + _IMAGE_WIDTH, y + _IMAGE_HEIGHT, y)
        axes.imshow(pixels, extent=extent, aspect="auto")
    axes.add_patch(
        Rectangle(
            (x, y),
            _IMAGE_WIDTH,
            _IMAGE_HEIGHT,
            fill=False,
            edgecolor=frame.colour,
            linestyle=frame.line_style,
            linewidth=frame.line_width,
        )
    )
    beside = x + _IMAGE_WIDTH + _GAP / 2
    if frame.sign:
        _write(axes, beside, y, frame.sign, size=12, color=frame.colour, weight="bold")
    _write(axes, beside, y + (0.22 if frame.sign else 0), tile.caption)


def _read(path: Path) -> npt.NDArray[np.uint8] | None:
    try:
        return decode(read_file(path)).permute(1, 2, 0).numpy()
    except (OSError, ValueError):
        return None


def _write(
    axes: Axes, x: float, y: float, text: str, *, size: float = 8.5, **properties: Any
) -> None:
    axes.text(x, y, text, va="top", fontsize=size, parse_math=False, **properties)
