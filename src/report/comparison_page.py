"""The comparison as a page that needs no other file."""

import base64
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import pandas as pd
from jinja2 import Environment, PackageLoader, StrictUndefined

from src.report.comparison import (
    CHECKPOINTS,
    Comparison,
    format_interval,
    lost_queries,
    won_queries,
)
from src.report.comparison_folder import PAGE_FILE
from src.report.evaluated_run import EvaluatedRun
from src.report.pictures import Tile, draw_strips
from src.report.run_folder import PICTURES_FOLDER
from src.report.wording import counted, shortened

_STRIPS_AT_MOST = 12
_IDENTITY_LENGTH = 10
_TAGS = {
    "checkpoint_sha256": "SHA-256 of the checkpoint",
    "git_commit": "Commit of the code",
    "dataset_digest": "Digest of the data",
    "reference_identities": "Identities in reference",
    "reference_images": "Images in reference",
    "query_identities": "Identities in query",
    "query_images": "Images in query",
}


class _Group(NamedTuple):
    name: str
    queries: list[dict[str, Any]]
    shown: int
    picture: str | None


def write_page(
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
    page, pictures = Path(output_dir) / PAGE_FILE, Path(output_dir) / PICTURES_FOLDER
    groups = [
        _draw_group("won", won_queries(queries), runs, pictures),
        _draw_group("lost", lost_queries(queries), runs, pictures),
    ]
    environment = Environment(
        loader=PackageLoader("src.report"), autoescape=True, undefined=StrictUndefined
    )
    template = environment.get_template("comparison.html.j2")
    html = template.render(
        comparison=comparison,
        groups=groups,
        runs=runs,
        tags=_TAGS,
        level=f"{100 * comparison.confidence:g} %",
        format_interval=format_interval,
        counted=counted,
    )
    page.write_text(html, encoding="utf-8")
    return [page, pictures] if any(group.picture for group in groups) else [page]


def _draw_group(
    name: str, queries: pd.DataFrame, runs: Mapping[str, EvaluatedRun], pictures: Path
) -> _Group:
    shown = queries.head(_STRIPS_AT_MOST)
    if shown.empty:
        return _Group(name, [], 0, None)
    picture = pictures / f"{name}.png"
    rows = [_strip(query, runs) for _, query in shown.iterrows()]
    draw_strips(rows, picture, ("query", *CHECKPOINTS))
    return _Group(name, queries.to_dict("records"), len(shown), _data_uri(picture))


def _strip(query: pd.Series, runs: Mapping[str, EvaluatedRun]) -> list[Tile]:
    folders = {name: Path(runs[name].result.data_dir) for name in CHECKPOINTS}
    places = [folder / query["path"] for folder in folders.values()]
    place = next((place for place in places if place.is_file()), places[0])
    tiles = [Tile(place, shortened(query["identity"], _IDENTITY_LENGTH), "query")]
    for name, folder in folders.items():
        nearest = folder / query[f"{name}_nearest_path"]
        identity = shortened(query[f"{name}_nearest_identity"], _IDENTITY_LENGTH)
        caption = f"{identity}\n{query[f'{name}_similarity']:.3f}"
        tiles.append(Tile(nearest, caption, "right" if query[f"{name}_correct"] else "wrong"))
    return tiles


def _data_uri(picture: Path) -> str:
    return f"data:image/png;base64,{base64.b64encode(picture.read_bytes()).decode()}"
