"""Strips of the worst mistakes."""

from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import Any

import pandas as pd

from src.report.pictures.picture import Picture
from src.report.pictures.strips import Frame, Tile, draw_strips
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
    if wrong.empty:
        return None
    shown = wrong.sort_values("margin", kind="stable", na_position="last").head(count)
    strips = [
        [_query_tile(query, data_dir, _margin(query.margin)), *_neighbors(query, data_dir)]
        for query in shown.itertuples()
    ]
    return _draw(strips, path, _title(len(shown), len(wrong), "1-NN accuracy"), _alt(shown, wrong))


def draw_cross_camera_mistakes(
    predictions: pd.DataFrame, data_dir: Path, path: Path, count: int = 12
) -> Picture | None:
    """Draw the queries whose first match by another camera comes last.

    Args:
        predictions: as for `draw_mistakes`.
        data_dir: likewise.
        path: likewise.
        count: how many mistakes at most; those of the greatest rank are taken.

    Returns:
        The picture, in which the references of the query's identity and camera are marked as left
        out; or None where such a match always comes first, there is none, or none of the images is
        there.
    """
    wrong = predictions.loc[predictions["cross_camera_rank"].fillna(1) > 1]
    if wrong.empty:
        return None
    shown = wrong.sort_values("cross_camera_rank", ascending=False, kind="stable").head(count)
    strips = [
        [
            _query_tile(query, data_dir, f"\nrank\n{query.cross_camera_rank:,}"),
            *_neighbors(query, data_dir, own_camera=query.camera),
        ]
        for query in shown.itertuples()
    ]
    title = _title(len(shown), len(wrong), "rank-1")
    return _draw(strips, path, title, _cross_camera_alt(shown, wrong))


def _draw(strips: list[list[Tile]], path: Path, title: str, alt: str) -> Picture | None:
    if not any(tile.path.is_file() for strip in strips for tile in strip):
        return None
    draw_strips(strips, path, _HEADINGS[: max(map(len, strips))])
    return Picture(path, title, alt)


def _query_tile(query: Any, data_dir: Path, reason: str) -> Tile:
    return Tile(data_dir / query.path, _caption(query.identity, query.camera) + reason, "query")


def _neighbors(query: Any, data_dir: Path, own_camera: object = None) -> Iterator[Tile]:
    """Yield the nearest references; those by the query's own camera may be left out."""
    neighbors = zip(
        query.neighbor_path,
        query.neighbor_identity,
        query.neighbor_camera,
        query.neighbor_similarity,
        strict=True,
    )
    for path, identity, camera, similarity in islice(neighbors, len(_HEADINGS) - 1):
        caption = f"{_caption(identity, camera)}\n{similarity:.3f}"
        frame: Frame = "right" if identity == query.identity else "wrong"
        if frame == "right" and own_camera is not None and camera == own_camera:
            caption, frame = f"{caption}\nleft out", "left out"
        yield Tile(data_dir / path, caption, frame)


def _margin(margin: float) -> str:
    return "" if pd.isna(margin) else f"\nmargin\n{margin:.3f}"


def _caption(identity: str, camera: int | None) -> str:
    name = shortened(identity, _IDENTITY_LENGTH)
    return name if pd.isna(camera) else f"{name}\ncamera {camera}"


def _title(shown: int, wrong: int, measure: str) -> str:
    if shown < wrong:
        return f"The worst {shown} of {wrong:,} mistakes of {measure}"
    if wrong == 1:
        return f"The only mistake of {measure}"
    return f"All {wrong} mistakes of {measure}, the worst first"


def _alt(shown: pd.DataFrame, wrong: pd.DataFrame) -> str:
    worst = shown.iloc[0]
    margin = "" if pd.isna(worst["margin"]) else f", by a margin of {worst['margin']:.3f}"
    return (
        f"{len(shown)} of {counted(len(wrong), 'wrong query', 'wrong queries')}, the smallest "
        "margin first, each beside its nearest references. The first: a query of identity "
        f"{worst['identity']} was taken for {worst['nearest_identity']}{margin}."
    )


def _cross_camera_alt(shown: pd.DataFrame, wrong: pd.DataFrame) -> str:
    worst = shown.iloc[0]
    return (
        f"{len(shown)} of {counted(len(wrong), 'query', 'queries')} whose first match by another "
        "camera does not come first, the greatest rank first, each beside its nearest references. "
        f"The first: that of a query of identity {worst['identity']} has rank "
        f"{worst['cross_camera_rank']:,}."
    )
