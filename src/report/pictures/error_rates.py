"""How the error rates of verification trade off: the ROC and the DET curve.

A curve goes through exact points: one for each edge of the histogram, and the working points. It
has a log scale, on which an error rate of 0 has no place.
"""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import numpy.typing as npt
from matplotlib.axes import Axes

from src.exact_retrieval.retrieval.ranking import SimilarityHistogram
from src.exact_retrieval.retrieval.verification import Verification
from src.report.pictures.palette import RIGHT
from src.report.pictures.picture import CHART_WIDTH, PERCENT_AXIS, Picture, drawing
from src.report.wording import percent


def draw_roc(
    histogram: SimilarityHistogram | None, verification: Verification, path: Path
) -> Picture | None:
    """Draw the receiver operating characteristic: true accept rate over false accept rate.

    Args:
        histogram: of the similarities of all pairs, on the CPU.
        verification: whose working points are marked.
        path: the PNG file to write.

    Returns:
        The picture, or None where pairs of one kind are missing: then nothing is drawn.
    """
    if histogram is None or verification.equal_error is None:
        return None
    rates = trace_rates(histogram, verification)

    def draw(axes: Axes) -> None:
        axes.set_ylabel("true accept rate")
        axes.plot(rates[:, 0], 1 - rates[:, 1], ".-", color=RIGHT, markersize=3)
        for point in verification.points:
            if point.false_rate > 0:
                _mark(axes, point.false_rate, point.rate, (4, -12))

    return _draw(draw, path, "Receiver operating characteristic", _alt(verification))


def draw_det(
    histogram: SimilarityHistogram | None, verification: Verification, path: Path
) -> Picture | None:
    """Draw the detection error tradeoff: false reject rate over false accept rate.

    Both have a log scale (Martin et al., "The DET Curve in Assessment of Detection Task
    Performance", Eurospeech 1997, but for the scale, which is that of the normal distribution
    there).

    Args:
        histogram: of the similarities of all pairs, on the CPU.
        verification: whose working points are marked, and where the rates are equal.
        path: the PNG file to write.

    Returns:
        The picture, or None where pairs of one kind are missing or a threshold tells all pairs
        apart: then nothing is drawn.
    """
    if histogram is None or verification.equal_error is None:
        return None
    equal = verification.equal_error.rate
    if equal == 0:
        return None
    rates = trace_rates(histogram, verification)
    rates = rates[rates[:, 1] > 0]

    def draw(axes: Axes) -> None:
        axes.set_ylabel("false reject rate")
        axes.set_yscale("log")
        axes.plot(*rates.T, ".-", color=RIGHT, markersize=3)
        for point in verification.points:
            if point.false_rate > 0 and point.rate < 1:
                _mark(axes, point.false_rate, 1 - point.rate, (4, 4))
        _mark(axes, equal, equal, (4, 4), "equal: ")

    alt = f"{_alt(verification)} Both error rates are {percent(equal)} at one threshold."
    return _draw(draw, path, "Detection error tradeoff", alt)


def trace_rates(
    histogram: SimilarityHistogram, verification: Verification
) -> npt.NDArray[np.float64]:
    """List false accept and false reject rates [N, 2], the first ascending and above 0."""
    _, same, different = (column.numpy() for column in histogram)
    accept, reject = different[::-1].cumsum(), same.sum() - same[::-1].cumsum()
    at_edges = np.stack([accept / accept[-1], reject / same.sum()], axis=1)
    working = [[point.false_rate, 1 - point.rate] for point in verification.points]
    rates = np.concatenate([at_edges, np.reshape(working, (-1, 2))])
    rates = rates[rates[:, 0] > 0]
    return rates[np.lexsort((-rates[:, 1], rates[:, 0]))]


def _draw(draw: Callable[[Axes], None], path: Path, title: str, alt: str) -> Picture:
    with drawing(path, CHART_WIDTH, 3.6) as figure:
        axes = figure.subplots()
        axes.set_xlabel("false accept rate")
        axes.set_xscale("log")
        axes.grid()
        draw(axes)
        axes.xaxis.set_major_formatter(PERCENT_AXIS)
        axes.yaxis.set_major_formatter(PERCENT_AXIS)
    return Picture(path, title, alt)


def _mark(axes: Axes, x: float, y: float, offset: tuple[int, int], label: str = "") -> None:
    axes.plot(x, y, "o", color=RIGHT)
    axes.annotate(label + percent(y), (x, y), offset, textcoords="offset points", fontsize=8.5)


def _alt(verification: Verification) -> str:
    rates = ", ".join(
        f"{percent(point.rate)} of true pairs at 1 false accept in {point.one_in:,}"
        for point in verification.points
    )
    if not rates:
        return "There is no working point, as there are fewer than 100 pairs of two identities."
    return f"Accepted: {rates}."
