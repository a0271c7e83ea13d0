"""Accuracy of every identity, and the worst of them by name."""

from pathlib import Path

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.ticker import MaxNLocator

from src.report.identities import summarise_identities
from src.report.pictures.palette import RIGHT, WRONG, WRONG_HATCH
from src.report.pictures.picture import CHART_WIDTH, PERCENT_AXIS, Picture, drawing
from src.report.wording import counted, shortened

_NAMED = 10
_IDENTITY_LENGTH = 16


def draw_identity_accuracy(predictions: pd.DataFrame, path: Path) -> Picture:
    """Draw the accuracy of all identities, worst first, and the answers of the worst.

    Those are up to ten identities with at least one mistake.

    Args:
        predictions: as `tabulate_predictions` describes them.
        path: the PNG file to write.
    """
    identities = summarise_identities(predictions)
    worst = identities.loc[identities["accuracy"] < 1].head(_NAMED)
    heights = [2.2, 0.9 + 0.2 * len(worst)] if len(worst) else [2.2]
    with drawing(path, CHART_WIDTH, sum(heights)) as figure:
        axes = figure.subplots(len(heights), height_ratios=heights, squeeze=False)[:, 0]
        _draw_all(axes[0], identities)
        if len(worst):
            _draw_worst(axes[1], worst)
    return Picture(
        path,
        "Accuracy by identity",
        f"Accuracy of {counted(len(identities), 'identity', 'identities')}, worst first: "
        f"{(identities['accuracy'] == 1).sum():,} have all queries right, "
        f"{(identities['accuracy'] == 0).sum():,} have none.{_name_worst(worst)}",
    )


def _name_worst(worst: pd.DataFrame) -> str:
    named = ", ".join(
        f"{identity.identity} ({identity.right} of {identity.queries})"
        for identity in worst.itertuples()
    )
    return f" The worst: {named}." if named else ""


def _draw_all(axes: Axes, identities: pd.DataFrame) -> None:
    edges = np.arange(len(identities) + 1)
    axes.stairs(identities["accuracy"], edges, fill=True, color=RIGHT, alpha=0.2)
    axes.stairs(identities["accuracy"], edges, color=RIGHT, linewidth=1.5)
    axes.set(xlim=(0, len(identities)), ylim=(0, 1.05), ylabel="accuracy")
    axes.set_xlabel("identities, worst first")
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.yaxis.set_major_formatter(PERCENT_AXIS)
    axes.grid(axis="y")


def _draw_worst(axes: Axes, worst: pd.DataFrame) -> None:
    places = np.arange(len(worst))
    wrong = worst["queries"] - worst["right"]
    axes.barh(places, worst["right"], color=RIGHT, label="right")
    axes.barh(
        places,
        wrong,
        left=worst["right"],
        color="white",
        edgecolor=WRONG,
        hatch=WRONG_HATCH,
        label="wrong",
    )
    for place, identity in enumerate(worst.itertuples()):
        text = f" {identity.right} of {identity.queries}"
        axes.text(identity.queries, place, text, va="center", fontsize=8.5)
    names = [shortened(identity, _IDENTITY_LENGTH) for identity in worst["identity"]]
    axes.set_yticks(places, names, fontsize=8.5, parse_math=False)
    axes.set(ylim=(len(worst) - 0.5, -0.5), xlabel="queries of the worst identities")
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.set_xlim(0, 1.15 * worst["queries"].max())
    axes.legend(loc="lower left", bbox_to_anchor=(0, 1), ncols=2, borderaxespad=0)
