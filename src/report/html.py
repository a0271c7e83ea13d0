"""HTML pages that need no other file."""

import base64
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, NamedTuple

from jinja2 import Environment, PackageLoader, StrictUndefined
from PIL import Image

from src.report.pictures import Picture

_HALF_A_PAGE = 900  # pixels of a picture, which at most are shown at that width beside another


class Column(NamedTuple):
    """One column of a table.

    Attributes:
        key: what filters call it.
        title: its heading.
        cells: texts, from the first row to the last.
        kind: "number" sorts by the number at the start of each cell, those without one last, the
            others as text; "path" may be broken anywhere on paper.
    """

    key: str
    title: str
    cells: Sequence[str]
    kind: Literal["text", "number", "path"] = "text"


@dataclass(frozen=True)
class Table:
    """A table that a reader can sort and filter.

    Attributes:
        label: what it is a table of.
        columns: all of one length.
        ascending_by: key of the column that the rows are sorted by.
    """

    label: str
    columns: Sequence[Column]
    ascending_by: str

    @property
    def rows(self) -> list[tuple[str, ...]]:
        """The cells of each row."""
        return list(zip(*(column.cells for column in self.columns), strict=True))

    def choices(self, key: str) -> list[str]:
        """The different texts in a column, in order of length, then of text: 2 before 10."""
        (cells,) = (column.cells for column in self.columns if column.key == key)
        return sorted(set(cells), key=lambda text: (len(text), text))


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
        path: the file to write; its folder is made where it is missing.
        template: name of the file in `templates`.
        values: by their names in the template, which has to name no other.
    """
    environment = Environment(
        loader=PackageLoader("src.report"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["embedded"] = _embed
    page = environment.get_template(template).render(**values)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(page, encoding="utf-8")


def _embed(picture: Picture) -> EmbeddedPicture:
    with Image.open(picture.path) as image:
        width, height = image.size
    content = base64.b64encode(picture.path.read_bytes()).decode()
    return EmbeddedPicture(f"data:image/png;base64,{content}", width, height, width > _HALF_A_PAGE)
