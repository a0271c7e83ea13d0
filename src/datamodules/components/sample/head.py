"""The surfaces of a head: neck, skull with its face, ears, hair and hat."""

from collections.abc import Callable, Iterator
from typing import TypeVar

import numpy as np

from src.datamodules.components.sample import paint
from src.datamodules.components.sample.person import Person
from src.datamodules.components.sample.surface import RGB, Array, Surface, ball, tube

T = TypeVar("T")
CHIN = 0.866
SKULL = (0.050, 0.071, 0.061)


def head(person: Person, *, look: float, nod: float) -> Iterator[Surface]:
    """Yield the head turned left by `look` and down by `nod` radians."""
    skin = paint.plain(person.skin)
    shaded = paint.plain(paint.mix(person.skin, (0, 0, 0), 0.10))
    yield tube([(0, 0.82, -0.006), (0, 0.90, 0.004)], [0.036, 0.032, 0.032], shaded)
    up = np.array([0.0, np.cos(nod), np.sin(nod)])
    ahead = np.array([np.sin(look), 0.0, np.cos(look)])
    side = np.array([np.cos(look), 0.0, -np.sin(look)])
    centre = [0.0, CHIN, 0.008] + 0.065 * up
    yield ball(centre, SKULL, _turned(paint.face(person), look), up=up, squareness=2.3)
    yield ball(centre + 0.058 * ahead - 0.010 * up, (0.009, 0.014, 0.012), skin, up=up)
    for sign in (-1, 1):
        yield ball(centre + sign * 0.050 * side - 0.004 * up, (0.008, 0.017, 0.012), skin, up=up)
    yield from _hair(person, centre, up, ahead, look)
    if person.hat:
        yield from _hat(person.hat, centre, up, ahead)


def _turned(function: Callable[[Array, Array], T], look: float) -> Callable[[Array, Array], T]:
    """A paint or a selection, turned around the head."""
    return lambda u, v: function(u, (v - look + np.pi) % (2 * np.pi) - np.pi)


def _hair(person: Person, centre: Array, up: Array, ahead: Array, look: float) -> Iterator[Surface]:
    hair, style = paint.plain(person.hair), person.hair_style
    if style == "bald":
        return
    volume = {"cropped": 1.05, "bob": 1.2, "long": 1.15}.get(style, 1.12)
    shape = (volume * SKULL[0], volume * SKULL[1], volume * SKULL[2])
    line = _turned(paint.hairline(style), look)
    yield ball(centre + 0.004 * up, shape, hair, up=up, keep=line, roughness=0.16, squareness=2.3)
    nape = centre - 0.038 * ahead
    match style:
        case "long":
            fall = ((0.02, 0.0), (-0.07, 0.014), (-0.17, 0.034))
            path = [nape + rise * up - back * ahead for rise, back in fall]
            radii = [(0.050, 0.03), (0.060, 0.03), (0.064, 0.03), (0.058, 0.026), (0.030, 0.01)]
            yield tube(path, radii, hair, roughness=0.18)
        case "bob":
            path = nape + np.array([(0, 0.03, 0), (0, -0.055, 0)])
            radii = [(0.045, 0.03), (0.060, 0.036), (0.061, 0.036), (0.050, 0.025)]
            yield tube(path, radii, hair, roughness=0.16)
        case "ponytail":
            root = nape + 0.01 * ahead + 0.03 * up
            path = [root, root - 0.05 * ahead - [0, 0.02, 0], root - 0.055 * ahead - [0, 0.13, 0]]
            yield tube(path, [0.016, 0.023, 0.026, 0.024, 0.005], hair, roughness=0.16)
        case "bun":
            knot = nape - 0.03 * ahead + [0, 0.03, 0]
            yield ball(knot, (0.030, 0.030, 0.030), hair, roughness=0.16)


def _hat(colour: RGB, centre: Array, up: Array, ahead: Array) -> Iterator[Surface]:
    """A cap."""
    cloth = paint.plain(colour)
    top = centre + 0.016 * up
    shell = (0.061, 0.068, 0.072)
    yield ball(top, shell, cloth, up=up, keep=lambda u, v: u > 0.52, roughness=0.03)
    front = top + 0.05 * ahead
    brim = [(0.052, 0.005), (0.052, 0.005), (0.044, 0.005), (0, 0)]
    yield tube([front, front + 0.075 * ahead - [0, 0.012, 0]], brim, cloth)
