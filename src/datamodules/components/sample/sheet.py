"""A contact sheet: what the people of a sample look like to every camera.

`python -m src.datamodules.components.sample.sheet docs/sample.jpg` draws one.
"""

import io
import sys
from collections.abc import Iterable
from pathlib import Path

from PIL import Image

from src.datamodules.components.sample.camera import CAMERAS, COLUMNS, ROWS
from src.datamodules.components.sample.dataset import Shot, render

GAP = 4
PEOPLE = (6, 43, 38, 50)


def contact_sheet(
    identities: Iterable[int], *, seed: int = 0, shot: int = 1, zoom: int = 2
) -> Image.Image:
    """Draw one image per identity (row) and camera (column), as the sample has them.

    Args:
        identities: Numbers of the people.
        seed: Seed of the sample.
        shot: Which of the images in each camera.
        zoom: Enlargement.
    """
    people = list(identities)
    step_x, step_y = COLUMNS * zoom + GAP, ROWS * zoom + GAP
    size = (len(CAMERAS) * step_x + GAP, len(people) * step_y + GAP)
    sheet = Image.new("RGB", size, "white")
    for row, identity in enumerate(people):
        for column in range(len(CAMERAS)):
            file = render(Shot("reference", identity, column + 1, shot), seed=seed)
            crop = Image.open(io.BytesIO(file)).resize(
                (COLUMNS * zoom, ROWS * zoom), Image.Resampling.BICUBIC
            )
            sheet.paste(crop, (GAP + column * step_x, GAP + row * step_y))
    return sheet


def save_contact_sheet(path: Path, identities: Iterable[int] = PEOPLE, *, seed: int = 0) -> None:
    """Write the sheet, small enough for a repository if `path` ends in .jpg."""
    path.parent.mkdir(parents=True, exist_ok=True)
    contact_sheet(identities, seed=seed).save(path, quality=90)


if __name__ == "__main__":
    save_contact_sheet(Path(sys.argv[1]))
