"""Strips of the worst mistakes."""

from itertools import islice
from pathlib import Path

import pandas as pd

from src.report.pictures.picture import Picture
from src.report.pictures.strips import Tile, draw_strips
from src.report.wording import counted, shortened

_IDENTITY_LENGTH = 10
_HEADINGS = ("query", "nearest", "2nd", "3rd", "4th", "5th")


def draw_mistakes(
    predictions: pd.DataFrame, data_dir: Path, path: Path, count: int = 12
) -> Picture | None:
    """Draw the most confidently wrong queries, each with its nearest references.

    Args:
        predictions: as `tabulate_predictions` describes them.
        data_dir: the folder that their paths are relative to.
        path: the PNG file to write.
        count: how many mistakes at most; those of the smallest margin are taken, and those without
            a margin last.

    Returns:
        The picture, or None where no query is wrong or none of the images is there: then nothing
        is drawn.
    """
    wrong = predictions.loc[~predictions["correct"]]
    shown = wrong.sort_values("margin", kind="stable", na_position="last").head(count)
    rows = [_strip(query, data_dir) for query in shown.itertuples()]
    if not any(tile.path.is_file() for row in rows for tile in row):
        return None
    draw_strips(rows, path, _HEADINGS[: max(map(len, rows))])
    return Picture(path, _title(len(shown), len(wrong)), _alt(shown, len(wrong)))


def _strip(query: pd.Series, data_dir: Path) -> list[Tile]:
    margin = "" if pd.isna(query.margin) else f"\nmargin\n{query.margin:.3f}"
    tiles = [Tile(data_dir / query.path, _caption(query.identity, query.camera) + margin, "query")]
    neighbors = zip(
        query.neighbor_path,
        query.neighbor_identity,
        query.neighbor_camera,
        query.neighbor_similarity,
        strict=True,
    )
    for path, identity, camera, similarity in islice(neighbors, len(_HEADINGS) - 1):
        caption = f"{_caption(identity, camera)}\n{similarity:.3f}"
        tiles.append(
            Tile(data_dir / path, caption, "right" if identity == query.identity else "wrong")
        )
    return tiles


def _caption(identity: str, camera: int | None) -> str:
    name = shortened(identity, _IDENTITY_LENGTH)
    return name if pd.isna(camera) else f"{name}\ncamera {camera}"


def _title(shown: int, wrong: int) -> str:
    if shown == wrong:
        return "The only mistake" if wrong == 1 else f"All {wrong} mistakes, the worst first"
    return f"The worst {shown} of {wrong:,} mistakes"


def _alt(shown: pd.DataFrame, wrong: int) -> str:
    worst = shown.iloc[0]
    margin = "" if pd.isna(worst["margin"]) else f", by a margin of {worst['margin']:.3f}"
    return (
        f"{len(shown)} of {counted(wrong, 'wrong query', 'wrong queries')}, the smallest margin "
        "first, each beside its nearest references. The first: a query of identity "
        f"{worst['identity']} was taken for {worst['nearest_identity']}{margin}."
    )
