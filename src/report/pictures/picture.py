"""A picture of a report, and how one is drawn."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from matplotlib import style
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter

from src.report.pictures.palette import WRONG

PIXELS_PER_INCH = 150
CHART_WIDTH = 5.5  # inches
PERCENT_AXIS = FuncFormatter(lambda share, _: f"{100 * share:.4g}\u00a0%")

_STYLE = {
    "figure.constrained_layout.use": True,
    "font.size": 10,
    "axes.titlesize": 10,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": False,
    "grid.color": "#d0d0d0",
    "hatch.color": WRONG,
    "hatch.linewidth": 0.6,
    "legend.frameon": False,
}


@dataclass(frozen=True)
class Picture:
    """A picture file and what it says.

    Attributes:
        path: the PNG file.
        title: what it is a picture of.
        alt: what it shows, with its numbers, for those who do not see it.
    """

    path: Path
    title: str
    alt: str


@contextmanager
def drawing(path: Path, width: float, height: float) -> Iterator[Figure]:
    """Give a figure to draw on, which is saved at the end; no matplotlibrc changes its look.

    Args:
        path: PNG file; its folder is made where it is missing.
        width: in inches.
        height: in inches.
    """
    with style.context(_STYLE, after_reset=True):
        figure = Figure(figsize=(width, height), dpi=PIXELS_PER_INCH)
        canvas = FigureCanvasAgg(figure)
        yield figure
        path.parent.mkdir(parents=True, exist_ok=True)
        canvas.print_png(path, pil_kwargs={"compress_level": 3})  # in half the time of 6
