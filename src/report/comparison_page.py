"""The page that shows a comparison."""

from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

import pandas as pd

from src.report.comparison import (
    CHECKPOINTS,
    Comparison,
    PairedDifference,
    lost_queries,
    won_queries,
)
from src.report.comparison_folder import PAGE_FILE
from src.report.evaluated_run import EvaluatedRun
from src.report.html import Column, Table, write_page
from src.report.pictures import Picture, Tile, draw_strips
from src.report.run_folder import PICTURES_FOLDER
from src.report.wording import counted, percent, shortened

_STRIPS_AT_MOST = 12
_IDENTITY_LENGTH = 10
_TAGS = {
    "SHA-256 of the checkpoint": "checkpoint_sha256",
    "Commit": "git_commit",
    "Digest of the data": "dataset_digest",
}


class Row(NamedTuple):
    """One row of the table of means; an empty `interval` where none is given."""

    name: str
    queries: str
    baseline: str
    candidate: str
    difference: str
    interval: str


def write_comparison_page(
    output_dir: str | Path,
    comparison: Comparison,
    queries: pd.DataFrame,
    runs: Mapping[str, EvaluatedRun],
) -> list[Path]:
    """Write `comparison.html` and its pictures, `pictures/won.png` and `pictures/lost.png`.

    In place of an image that is no longer where its evaluation found it stands "missing".

    Args:
        output_dir: the folder of the run.
        comparison: the numbers.
        queries: what `match_queries` returns.
        runs: "baseline" and "candidate".

    Returns:
        The page, and the folder of pictures where anything was won or lost.
    """
    page, folder = Path(output_dir) / PAGE_FILE, Path(output_dir) / PICTURES_FOLDER
    groups = {"won": won_queries(queries), "lost": lost_queries(queries)}
    pictures = [
        _draw(name, group, runs, folder / f"{name}.png")
        for name, group in groups.items()
        if not group.empty
    ]
    write_page(
        page,
        "comparison.html.j2",
        comparison=comparison,
        rows=[_row(name, value) for name, value in comparison.values()],
        level=f"{100 * comparison.confidence:g}\u00a0%",
        queries=counted(comparison.accuracy.queries, "query", "queries"),
        identities=counted(comparison.accuracy.identities, "identity", "identities"),
        pictures=pictures,
        query_table=_query_table(groups) if pictures else None,
        compared={name: _facts(run) for name, run in runs.items()},
    )
    return [page, folder] if pictures else [page]


def _row(name: str, value: PairedDifference) -> Row:
    return Row(
        name,
        f"{value.queries:,}",
        percent(value.baseline),
        percent(value.candidate),
        _points(value.difference),
        "" if value.interval is None else " to ".join(map(_points, value.interval)),
    )


def _points(difference: float) -> str:
    return f"{100 * difference:+.2f}"


def _draw(
    name: str, queries: pd.DataFrame, runs: Mapping[str, EvaluatedRun], path: Path
) -> Picture:
    shown = queries.head(_STRIPS_AT_MOST)
    draw_strips([_strip(query, runs) for _, query in shown.iterrows()], path, ("query", *runs))
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


def _strip(query: pd.Series, runs: Mapping[str, EvaluatedRun]) -> list[Tile]:
    folders = {name: Path(run.result.data_dir) for name, run in runs.items()}
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
    queries = pd.concat([group.assign(outcome=name) for name, group in groups.items()])
    queries = queries.sort_values("path")
    titles = {"path": "query", "identity": "identity", "outcome": "outcome"}
    titles |= {f"{name}_nearest_path": f"nearest of the {name}" for name in CHECKPOINTS}
    columns = [
        Column(key, title, list(queries[key]), "path" if key.endswith("path") else "text")
        for key, title in titles.items()
    ]
    return Table("Queries won and lost", columns, ascending_by="path")


def _facts(run: EvaluatedRun) -> dict[str, str]:
    return {
        "Run": run.name,
        "Checkpoint": run.result.checkpoint or "none: random weights",
        "Data": run.result.data_dir,
        **{label: run.result.tags.get(tag, "unknown") for label, tag in _TAGS.items()},
    }
