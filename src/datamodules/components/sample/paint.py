"""What is painted on the surfaces: patterns, openings, straps and faces, by position."""

import numpy as np

from src.datamodules.components.sample.person import HairStyle, Lower, Person, Upper
from src.datamodules.components.sample.surface import RGB, Array, Paint, Where


def plain(colour: RGB) -> Paint:
    """One colour everywhere."""
    return lambda u, v: np.full((len(u), 3), colour, dtype=np.float32)


def over(below: Paint, colour: RGB, where: Where) -> Paint:
    """`colour` on top of `below` at the positions that `where` selects."""

    def paint(u: Array, v: Array) -> Array:
        colours = below(u, v)
        colours[where(u, v)] = colour
        return colours

    return paint


def mix(colour: RGB, other: RGB, share: float) -> RGB:
    """`colour` with a `share` of `other`."""
    red, green, blue = (int(a + share * (b - a)) for a, b in zip(colour, other, strict=True))
    return red, green, blue


def spot(u0: float, v0: float, du: float, dv: float) -> Where:
    """An ellipse around (u0, v0) with half axes du, dv."""
    return lambda u, v: ((u - u0) / du) ** 2 + ((v - v0) / dv) ** 2 < 1


def box(u0: float, u1: float, v0: float, v1: float) -> Where:
    """The positions with u0 < u < u1 and v0 < v < v1."""
    return lambda u, v: (u > u0) & (u < u1) & (v > v0) & (v < v1)


def cloth(upper: Upper, *, sleeve: bool = False) -> Paint:
    """The garment's pattern; on a sleeve, `along` runs from the shoulder to the wrist."""
    ground = plain(upper.colour)
    rings, columns = (9, 5) if sleeve else (13, 12)
    match upper.pattern:
        case "stripes":
            return over(ground, upper.accent, lambda u, v: u * rings % 1 < 0.42)
        case "check":
            half = over(
                ground,
                mix(upper.colour, upper.accent, 0.45),
                lambda u, v: (u * rings % 1 < 0.4) | (v * columns / np.pi % 1 < 0.4),
            )
            return over(
                half,
                mix(upper.colour, upper.accent, 0.85),
                lambda u, v: (u * rings % 1 < 0.4) & (v * columns / np.pi % 1 < 0.4),
            )
        case "two-tone" if not sleeve:
            return over(ground, upper.accent, lambda u, v: u > 0.6)
        case "two-tone":
            return plain(upper.accent)
        case _:
            return ground


def _print(upper: Upper, shirt: Paint) -> Paint:
    """A print on the chest: a badge with a line of writing below."""
    badge = over(shirt, upper.accent, spot(0.66, 0, 0.11, 0.5))
    badge = over(badge, upper.colour, spot(0.67, 0.08, 0.05, 0.22))
    writing = box(0.44, 0.49, -0.55, 0.55)
    return over(badge, upper.accent, lambda u, v: writing(u, v) & (v * 9 % 1 < 0.7))


def torso(person: Person, neckline: float) -> Paint:
    """The upper garment around the trunk with its opening, and the straps of the bag."""
    upper = person.upper
    shirt = cloth(upper)
    trim = mix(upper.colour, (0, 0, 0) if sum(upper.colour) > 200 else (255, 255, 255), 0.3)
    if upper.pattern == "logo":
        shirt = _print(upper, shirt)
    match upper.kind:
        case "jacket":
            shirt = over(shirt, trim, lambda u, v: np.abs(v) < 0.34)
            shirt = over(shirt, upper.inner, lambda u, v: np.abs(v) < 0.16 + 0.12 * u)
        case "hoodie":
            shirt = over(shirt, trim, box(0.14, 0.36, -0.75, 0.75))
            shirt = over(shirt, upper.colour, box(0.16, 0.34, -0.7, 0.7))
        case "shirt":
            shirt = over(shirt, trim, lambda u, v: np.abs(v) < 0.045)
            shirt = over(shirt, mix(upper.colour, (255, 255, 255), 0.25), box(0.9, 1, -2.6, 2.6))
        case "polo":
            shirt = over(shirt, trim, box(0.72, 1, -0.06, 0.06))
            shirt = over(shirt, upper.accent, box(0.92, 1, -4, 4))
        case "dress":
            shirt = over(shirt, trim, box(0.0, 0.06, -4, 4))
    shirt = over(shirt, person.skin, lambda u, v: u > neckline + 0.05 * np.abs(v))
    return _straps(person, shirt)


def _straps(person: Person, shirt: Paint) -> Paint:
    """Two over the shoulders, or one across from the right shoulder to the left hip."""
    strap = mix(person.bag_colour, (0, 0, 0), 0.25)
    match person.bag:
        case "backpack":
            for side in (-0.55, 0.55):
                shirt = over(shirt, strap, box(0.42, 1, side - 0.1, side + 0.1))
            return shirt
        case "shoulder bag":
            return over(shirt, strap, lambda u, v: np.abs(np.sin(v) - 0.85 + 1.45 * u) < 0.09)
        case _:
            return shirt


def trousers(lower: Lower) -> Paint:
    """A leg of cloth with seams and a paler front."""
    faded, seam = mix(lower.colour, (200, 205, 210), 0.1), mix(lower.colour, (0, 0, 0), 0.25)
    leg = over(plain(lower.colour), faded, box(-1, 0.6, -0.8, 0.8))
    return over(leg, seam, lambda u, v: np.abs(np.abs(v) - np.pi / 2) < 0.07)


def face(person: Person) -> Paint:
    """Cheeks, beard, mouth, nose and eyes; `along` runs from the chin to the crown."""
    blush = mix(person.skin, (190, 70, 60), 0.14)
    head = plain(person.skin)
    for side in (-0.5, 0.5):
        head = over(head, blush, spot(0.40, side, 0.08, 0.28))
    if person.beard:
        beard = mix(person.hair, person.skin, 0.35)
        head = over(head, beard, lambda u, v: u < 0.36 - 0.06 * np.cos(2 * v))
    head = over(head, mix(person.skin, (140, 40, 40), 0.5), spot(0.285, 0, 0.024, 0.30))
    head = over(head, mix(person.skin, (0, 0, 0), 0.22), spot(0.40, 0, 0.025, 0.13))
    head = _eyes(person, head)
    return _glasses(person, head) if person.glasses else head


def _eyes(person: Person, head: Paint) -> Paint:
    socket = mix(person.skin, (60, 30, 30), 0.16)
    eye = mix(person.skin, (34, 26, 26), 0.85)
    brow = mix(person.hair, person.skin, 0.4)
    for side in (-0.4, 0.4):
        head = over(head, socket, spot(0.525, side, 0.055, 0.24))
        head = over(head, eye, spot(0.52, side, 0.026, 0.14))
        head = over(head, brow, box(0.60, 0.627, side - 0.2, side + 0.2))
    return head


def _glasses(person: Person, head: Paint) -> Paint:
    frame = mix(person.skin, (24, 24, 28), 0.85)
    for side in (-0.4, 0.4):
        head = over(head, frame, _ring(spot(0.52, side, 0.085, 0.34), spot(0.52, side, 0.06, 0.24)))
    return over(head, frame, lambda u, v: (np.abs(u - 0.54) < 0.016) & (np.abs(v) < 1.6))


def _ring(outer: Where, inner: Where) -> Where:
    return lambda u, v: outer(u, v) & ~inner(u, v)


def hairline(style: HairStyle) -> Where:
    """Where hair covers the head: above a line that falls from the forehead to the nape."""
    front, side, nape = {
        "cropped": (0.76, 0.62, 0.36),
        "short": (0.70, 0.52, 0.24),
        "bob": (0.66, 0.12, 0.0),
        "long": (0.70, 0.16, 0.0),
        "ponytail": (0.74, 0.52, 0.26),
        "bun": (0.74, 0.52, 0.28),
    }[style]

    line = (front, front, (front + side) / 2, side, nape, nape)
    return lambda u, v: u > np.interp(np.abs(v), (0.0, 0.75, 1.15, 1.7, 2.4, np.pi), line)
