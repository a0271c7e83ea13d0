"""HTML pages that need no other file."""

import base64
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Literal, NamedTuple

import pandas as pd
from jinja2 import Environment, PackageLoader, StrictUndefined
from PIL import Image

from src.report.pictures.picture import Picture
from src.report.wording import UNKNOWN, percent, points

ROWS_AT_MOST = 5000  # of a table, about 3 MB

_HALF_A_PAGE = 900  # pixels of a picture, which at most are shown at that width beside another


class Column(NamedTuple):
    """One column of a table.

    Attributes:
        key: of its values, which filters call it by.
        title: its heading.
        write: how to write a value that is known.
        kind: "number" sorts by the number at the start of each cell, those without one last, the
            others as text; "path" may be broken anywhere on paper.
    """

    key: str
    title: str
    write: Callable[[Any], str] = str
    kind: Literal["text", "number", "path"] = "text"


@dataclass(frozen=True)
class Table:
    """A table that a reader can sort and filter.

    Attributes:
        label: what it is a table of.
        columns: what is shown of each row.
        values: of all rows, of which a page shows the first `ROWS_AT_MOST`.
        ascending_by: key of the column that the rows are sorted by.
        file: that holds all queries, beside the page.
    """

    label: str
    columns: Sequence[Column]
    values: pd.DataFrame
    ascending_by: str
    file: str

    @cached_property
    def rows(self) -> list[tuple[str, ...]]:
        """The cells of each row that is shown."""
        shown = self.values.head(ROWS_AT_MOST)
        cells = (
            [UNKNOWN if pd.isna(value) else column.write(value) for value in shown[column.key]]
            for column in self.columns
        )
        return list(zip(*cells, strict=True))

    def choices(self, key: str) -> list[str]:
        """List the different texts in a column, in order of length, then of text: 2 before 10."""
        place = [column.key for column in self.columns].index(key)
        return sorted({row[place] for row in self.rows}, key=lambda text: (len(text), text))


class EmbeddedPicture(NamedTuple):
    """A picture as an `img` element needs it.

    Attributes:
        source: data URI.
        width: in pixels.
        height: in pixels.
        is_wide: whether it should have the width of the page for itself.
    """

    source: str
    width: int
    height: int
    is_wide: bool


def write_page(path: Path, template: str, **values: Any) -> None:
    """Render a template of this package to one file, with style, scripts and pictures in it.

    Args:
        path: the file to write; its folder is made if missing.
        template: name of the file in `templates`.
        values: by their names in the template, which may use no other name.
    """
    environment = Environment(
        loader=PackageLoader("src.report"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {"embedded": _embed, "percent": percent, "points": points}
    page = environment.get_template(template).render(**values)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(page, encoding="utf-8")


def _embed(picture: Picture) -> EmbeddedPicture:
    with Image.open(picture.path) as image:
        width, height = image.size
    content = base64.b64encode(picture.path.read_bytes()).decode()
    return EmbeddedPicture(f"data:image/png;base64,{content}", width, height, width > _HALF_A_PAGE)
