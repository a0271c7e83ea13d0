"""The page that shows a comparison."""

from collections.abc import Mapping
from pathlib import Path

import pandas as pd

from src.report.comparison import CHECKPOINTS, Comparison
from src.report.comparison_folder import QUERIES_FILE
from src.report.evaluated_run import EvaluatedRun
from src.report.html import Column, Table, write_page
from src.report.pictures.all_pictures import PICTURES_FOLDER
from src.report.pictures.picture import Picture
from src.report.pictures.strips import Tile, draw_strips
from src.report.wording import (
    confidence_level,
    counted,
    provenance_facts,
    shortened,
    unreliable_intervals,
)

_PAGE_FILE = "comparison.html"
_STRIPS_AT_MOST = 12
_IDENTITY_LENGTH = 10


def write_comparison_page(comparison: Comparison, folder: Path) -> list[Path]:
    """Write `comparison.html` and its pictures, `pictures/won.png` and `pictures/lost.png`.

    "missing" stands in place of an image that is no longer where its evaluation found it.

    Args:
        comparison: what it tells of.
        folder: of the run; made if missing.

    Returns:
        The page, and the folder of pictures if any query was won or lost.
    """
    page, picture_folder = folder / _PAGE_FILE, folder / PICTURES_FOLDER
    groups = {"won": comparison.won, "lost": comparison.lost}
    pictures = [
        _draw(name, group, comparison.runs, picture_folder / f"{name}.png")
        for name, group in groups.items()
        if not group.empty
    ]
    write_page(
        page,
        "comparison.html.j2",
        comparison=comparison,
        level=confidence_level(comparison.confidence),
        unreliable=unreliable_intervals(comparison.interval_identities()),
        queries=counted(comparison.accuracy.queries, "query", "queries"),
        identities=counted(comparison.accuracy.identities, "identity", "identities"),
        pictures=pictures,
        query_table=_query_table(groups),
        compared={
            name: {"Run": run.name, **provenance_facts(run.evaluation.provenance)}
            for name, run in comparison.runs.items()
        },
    )
    return [page, picture_folder] if pictures else [page]


def _draw(
    name: str, queries: pd.DataFrame, runs: Mapping[str, EvaluatedRun], path: Path
) -> Picture:
    shown = queries.head(_STRIPS_AT_MOST)
    folders = {name: Path(run.evaluation.provenance.data_dir) for name, run in runs.items()}
    draw_strips([_strip(query, folders) for _, query in shown.iterrows()], path, ("query", *runs))
    total, more = len(queries), len(queries) - len(shown)
    title = f"Queries {name}: {total:,}"
    if more:
        title += f". The {len(shown)} whose error was most similar; the table has {more:,} more"
    wrong = "baseline" if name == "won" else "candidate"
    paths = ", ".join(shown["path"])
    return Picture(
        path,
        title,
        f"{len(shown)} of {counted(total, 'query', 'queries')} that the {wrong} alone has wrong, "
        f"each beside the nearest reference of the baseline and of the candidate: {paths}.",
    )


def _strip(query: pd.Series, folders: Mapping[str, Path]) -> list[Tile]:
    places = [folder / query["path"] for folder in folders.values()]
    place = next((place for place in places if place.is_file()), places[0])
    tiles = [Tile(place, shortened(query["identity"], _IDENTITY_LENGTH), "query")]
    for name, folder in folders.items():
        identity = shortened(query[f"{name}_nearest_identity"], _IDENTITY_LENGTH)
        caption = f"{identity}\n{query[f'{name}_similarity']:.3f}"
        nearest = folder / query[f"{name}_nearest_path"]
        tiles.append(Tile(nearest, caption, "right" if query[f"{name}_correct"] else "wrong"))
    return tiles


def _query_table(groups: Mapping[str, pd.DataFrame]) -> Table:
    columns = [
        Column("path", "query", kind="path"),
        Column("identity", "identity"),
        Column("outcome", "outcome"),
        *(
            Column(f"{name}_nearest_path", f"nearest of the {name}", kind="path")
            for name in CHECKPOINTS
        ),
    ]
    queries = pd.concat([group.assign(outcome=name) for name, group in groups.items()])
    return Table("Queries won and lost", columns, queries.sort_values("path"), "path", QUERIES_FILE)
