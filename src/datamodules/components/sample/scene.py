"""The places where the cameras hang: wide pictures, drawn once, of which a crop shows a part."""

from collections.abc import Callable
from functools import lru_cache
from typing import TypeAlias

import numpy as np
from PIL import Image, ImageDraw, ImageFilter

from src.datamodules.components.sample.surface import RGB, Array

WIDTH, HEIGHT = 640, 176
HORIZON = 16
"""Row that the ground recedes to: the camera hangs a little above the heads."""
Ground: TypeAlias = Callable[[Array, Array], Array]


def _noise(rng: np.random.Generator, rows: int, columns: int) -> Array:
    """Smooth noise in 0..1 of [HEIGHT, WIDTH], with about `rows` x `columns` bumps."""
    coarse = Image.fromarray((rng.random((rows, columns)) * 255).astype(np.uint8))
    return np.asarray(coarse.resize((WIDTH, HEIGHT), Image.Resampling.BICUBIC)) / 255.0


def _textured(rng: np.random.Generator, colours: Array, strength: float) -> Image.Image:
    """A picture of `colours` [HEIGHT, WIDTH, 3] with stains and grain."""
    stains = 0.6 * _noise(rng, 8, 24) + 0.3 * _noise(rng, 40, 120)
    stains += 0.1 * rng.random((HEIGHT, WIDTH))
    lit = colours * (1 + strength * (stains - 0.5))[..., None]
    return Image.fromarray(np.clip(lit, 0, 255).astype(np.uint8))


def _floor(pattern: Ground) -> Array:
    """Paint the ground in perspective; `pattern` gets body heights across and away."""
    row, column = np.mgrid[0:HEIGHT, 0:WIDTH].astype(np.float64)
    depth = 140.0 / np.maximum(row - HORIZON, 2.0)
    return pattern((column - WIDTH / 2) * depth / 115.0, depth)


def _two(share: Array, one: RGB, other: RGB) -> Array:
    share = np.clip(share, 0, 1)[..., None]
    return np.array(one) * share + np.array(other) * (1 - share)


def _slabs(one: RGB, joint: RGB, width: float, length: float, *, bond: bool = False) -> Ground:
    """Slabs of width x length with joints; `bond` shifts every other row by half a slab."""

    def pattern(x: Array, z: Array) -> Array:
        course = np.floor(z / length)
        column = x / width + (0.5 * (course % 2) if bond else 0)
        inside = (column % 1 > 0.07) & (z / length % 1 > 0.09)
        shade = 0.9 + 0.2 * ((np.floor(column) * 7 + course * 13) % 5) / 4
        return _two(inside.astype(float), one, joint) * shade[..., None]

    return pattern


def _leaves(
    picture: Image.Image, rng: np.random.Generator, dark: RGB, bright: RGB, top: int, bottom: int
) -> None:
    """Paint leaves with a ragged edge between two rows."""
    leaves = 0.45 * _noise(rng, 40, 150) + 0.55 * _noise(rng, 18, 60)
    row = np.arange(HEIGHT)[:, None]
    edge = 10 * _noise(rng, 2, 50)
    grain = 0.75 + 0.35 * rng.random((HEIGHT, WIDTH, 1))
    colours = _two((leaves - 0.25) * 2, bright, dark) * grain
    mask = (row > top + edge) & (row < bottom + 0.3 * edge)
    picture.paste(
        Image.fromarray(np.clip(colours, 0, 255).astype(np.uint8)),
        mask=Image.fromarray(mask.astype(np.uint8) * 255),
    )


def bicycle(draw: ImageDraw.ImageDraw, x: float, y: float, size: float, colour: RGB) -> None:
    """A bicycle with wheels of radius `size`, the rear one standing at (x, y), in pixels."""
    dark, pen = (30, 30, 32), max(1, round(size / 8))
    hubs = [(x, y - size), (x + 2.9 * size, y - size)]
    for hub_x, hub_y in hubs:
        box = (hub_x - size, hub_y - size, hub_x + size, hub_y + size)
        draw.ellipse(box, outline=dark, width=max(1, round(size / 6)))
        for angle in np.arange(6) * np.pi / 6 + x:
            across, down = size * np.cos(angle), size * np.sin(angle)
            ends = (hub_x - across, hub_y - down, hub_x + across, hub_y + down)
            draw.line(ends, fill=(120, 120, 122), width=max(1, pen // 2))
    pedals, saddle = (x + 1.25 * size, y - 0.95 * size), (x + 0.85 * size, y - 2.25 * size)
    front = (x + 2.5 * size, y - 2.25 * size)
    for line in ([hubs[0], pedals, saddle, hubs[0]], [saddle, front, pedals], [front, hubs[1]]):
        draw.line(line, fill=colour, width=pen)
    draw.line([front, (front[0] - 0.1 * size, front[1] - 0.5 * size)], fill=dark, width=pen)
    bar = (
        front[0] - 0.5 * size,
        front[1] - 0.55 * size,
        front[0] + 0.2 * size,
        front[1] - 0.4 * size,
    )
    draw.rectangle(bar, fill=dark)
    seat = (saddle[0] - 0.4 * size, saddle[1] - 0.25 * size, saddle[0] + 0.4 * size, saddle[1])
    draw.ellipse(seat, fill=dark)


def _street(rng: np.random.Generator) -> Image.Image:
    """A pavement along a road with parked bicycles in front of a hedge."""
    slabs = _slabs((150, 144, 140), (112, 108, 106), 0.16, 0.16, bond=True)
    picture = _textured(rng, _floor(slabs), 0.35)
    _leaves(picture, rng, (40, 58, 34), (98, 128, 70), -20, 52)
    draw = ImageDraw.Draw(picture)
    draw.rectangle((0, 53, WIDTH, 57), fill=(168, 166, 160))
    draw.rectangle((0, 57, WIDTH, 59), fill=(98, 96, 94))
    frames = [(150, 40, 44), (60, 72, 110), (170, 170, 172), (50, 50, 54), (196, 160, 60)]
    for x in np.arange(-20, WIDTH, 27):
        bicycle(draw, x + rng.uniform(-5, 5), 70 + rng.uniform(-3, 3), 13, frames[rng.integers(5)])
    return picture


def _lawn(rng: np.random.Generator) -> Image.Image:
    """A path past a lawn and a running track, with trees behind."""
    picture = _textured(rng, _floor(_slabs((160, 158, 150), (138, 136, 128), 0.35, 0.35)), 0.25)
    _leaves(picture, rng, (36, 56, 36), (104, 138, 84), -30, 22)
    draw = ImageDraw.Draw(picture)
    draw.rectangle((0, 26, WIDTH, 40), fill=(168, 92, 78))
    for row in (29, 33, 38):
        draw.line((0, row, WIDTH, row), fill=(206, 178, 168))
    for x in range(12, WIDTH, 74):
        draw.rectangle((x, -1, x + 6, 33), fill=(84, 70, 56))
    _leaves(picture, rng, (74, 104, 50), (138, 164, 86), 36, 68)
    draw.rectangle((0, 70, WIDTH, 73), fill=(188, 186, 178))
    for x in range(0, WIDTH, 20):
        draw.line((x, 58, x, 72), fill=(92, 96, 98), width=2)
    draw.line((0, 59, WIDTH, 59), fill=(112, 116, 118), width=2)
    return picture


def _wall(rng: np.random.Generator) -> Image.Image:
    """A walk along a brick wall with windows and a plinth."""
    picture = _textured(rng, _floor(_slabs((128, 126, 128), (104, 102, 104), 0.3, 0.2)), 0.3)
    row, column = np.mgrid[0:HEIGHT, 0:WIDTH]
    course = row // 5
    inside = (row % 5 > 0) & ((column + 6 * (course % 2)) % 12 > 0)
    shade = 0.85 + 0.3 * rng.random((HEIGHT, WIDTH))[course, (column + 6 * (course % 2)) // 12]
    bricks = _two(inside.astype(float), (158, 110, 92), (178, 168, 158)) * shade[..., None]
    picture.paste(_textured(rng, bricks, 0.2).crop((0, 0, WIDTH, 72)), (0, 0))
    draw = ImageDraw.Draw(picture)
    for x in range(30, WIDTH, 96):
        draw.rectangle((x - 3, -1, x + 43, 43), fill=(206, 202, 194))
        draw.rectangle((x, -1, x + 40, 38), fill=(64, 76, 88))
        draw.polygon([(x + 6, 38), (x + 22, -1), (x + 32, -1), (x + 16, 38)], fill=(98, 112, 124))
        draw.line((x + 20, -1, x + 20, 38), fill=(206, 202, 194), width=2)
    draw.rectangle((0, 60, WIDTH, 72), fill=(140, 136, 132))
    draw.line((0, 73, WIDTH, 73), fill=(74, 72, 72), width=2)
    return picture


def _entrance(rng: np.random.Generator) -> Image.Image:
    """Steps in front of a dark hall behind glass."""
    picture = _textured(rng, _floor(_slabs((118, 120, 124), (90, 92, 96), 0.5, 0.3)), 0.25)
    hall = _two(_noise(rng, 4, 14), (44, 50, 58), (20, 24, 30))
    picture.paste(_textured(rng, hall, 0.5).crop((0, 0, WIDTH, 68)), (0, 0))
    draw = ImageDraw.Draw(picture)
    for x in range(0, WIDTH, 46):
        draw.rectangle((x, -1, x + 3, 68), fill=(92, 98, 104))
        draw.polygon([(x + 12, 66), (x + 24, -1), (x + 29, -1), (x + 17, 66)], fill=(58, 66, 76))
    draw.line((0, 34, WIDTH, 34), fill=(92, 98, 104), width=2)
    for x in range(20, WIDTH, 150):
        draw.rectangle((x, -1, x + 17, 74), fill=(148, 146, 142))
        draw.rectangle((x + 12, -1, x + 17, 74), fill=(116, 114, 112))
    for k, shade in enumerate((150, 136, 122)):
        draw.rectangle((0, 68 + 8 * k, WIDTH, 71 + 8 * k), fill=(shade + 26,) * 3)
        draw.rectangle((0, 71 + 8 * k, WIDTH, 76 + 8 * k), fill=(shade - 36,) * 3)
    return picture


def _plaza(rng: np.random.Generator) -> Image.Image:
    """Red and grey tiles in front of a pale facade with shop windows."""

    def tiles(x: Array, z: Array) -> Array:
        board = (np.floor(x / 0.22) + np.floor(z / 0.22)) % 2
        return _two(board, (170, 122, 108), (178, 174, 166))

    picture = _textured(rng, _floor(tiles), 0.25)
    facade = np.full((HEIGHT, WIDTH, 3), (196, 190, 178), dtype=np.float64)
    picture.paste(_textured(rng, facade, 0.12).crop((0, 0, WIDTH, 58)), (0, 0))
    draw = ImageDraw.Draw(picture)
    signs = [(52, 92, 142), (170, 52, 48), (64, 118, 86), (206, 166, 70), (96, 74, 118)]
    for k, x in enumerate(range(8, WIDTH, 88)):
        draw.rectangle((x, 12, x + 66, 54), fill=(88, 98, 102))
        draw.polygon([(x + 30, 54), (x + 50, 12), (x + 60, 12), (x + 40, 54)], fill=(128, 140, 144))
        draw.rectangle((x - 2, 1, x + 68, 12), fill=signs[k % 5])
        for letter in range(x + 8, x + 56, 7):
            draw.rectangle((letter, 4, letter + 4, 9), fill=(232, 228, 216))
    draw.line((0, 58, WIDTH, 58), fill=(118, 112, 104), width=2)
    return picture


def _road(rng: np.random.Generator) -> Image.Image:
    """Asphalt with a white line and parked cars."""
    picture = _textured(rng, _floor(lambda x, z: np.full((*x.shape, 3), 96.0)), 0.3)
    _leaves(picture, rng, (66, 78, 66), (132, 148, 122), -30, 36)
    draw = ImageDraw.Draw(picture)
    draw.rectangle((0, 37, WIDTH, 43), fill=(150, 150, 146))
    paints = [(178, 180, 184), (60, 64, 72), (128, 38, 40), (46, 66, 104), (214, 212, 206)]
    for k, x in enumerate(range(-30, WIDTH, 128)):
        _car(draw, x + rng.uniform(-6, 6), 66, paints[k % 5])
    draw.polygon([(0, 92), (WIDTH, 92), (WIDTH, 96), (0, 96)], fill=(196, 196, 190))
    return picture


def _car(draw: ImageDraw.ImageDraw, x: float, y: float, colour: RGB) -> None:
    shape = [
        (0, 0),
        (0, -14),
        (8, -18),
        (24, -20),
        (38, -34),
        (74, -34),
        (90, -20),
        (108, -16),
        (112, 0),
    ]
    draw.polygon([(x + dx, y + dy) for dx, dy in shape], fill=colour)
    for window in (
        [(30, -20), (40, -31), (54, -31), (54, -20)],
        [(58, -20), (58, -31), (72, -31), (83, -20)],
    ):
        draw.polygon([(x + dx, y + dy) for dx, dy in window], fill=(40, 48, 56))
    draw.line((x, y - 8, x + 112, y - 8), fill=(30, 30, 32))
    draw.rectangle((x, y - 2, x + 112, y + 4), fill=(36, 36, 38))
    for wheel in (22, 88):
        draw.ellipse((x + wheel - 10, y - 12, x + wheel + 10, y + 8), fill=(26, 26, 28))
        draw.ellipse((x + wheel - 5, y - 7, x + wheel + 5, y + 3), fill=(150, 150, 154))


PLACES = (_street, _lawn, _wall, _entrance, _plaza, _road)


@lru_cache(maxsize=len(PLACES))
def scene(place: int) -> Image.Image:
    """The picture of a place, WIDTH x HEIGHT, a little out of focus as backgrounds are."""
    picture = PLACES[place](np.random.default_rng(place))
    return picture.filter(ImageFilter.GaussianBlur(0.7))
