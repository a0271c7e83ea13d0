"""Who a person is: body, hair, clothes and bag, drawn from palettes that people share."""

from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Literal, TypeAlias, TypeVar

import numpy as np

from src.datamodules.components.sample.surface import RGB

T = TypeVar("T")
HairStyle: TypeAlias = Literal["bald", "cropped", "short", "bob", "long", "ponytail", "bun"]
UpperKind: TypeAlias = Literal["t-shirt", "polo", "shirt", "hoodie", "jacket", "dress", "tank top"]
LowerKind: TypeAlias = Literal["trousers", "shorts", "skirt"]
Pattern: TypeAlias = Literal["plain", "stripes", "check", "logo", "two-tone"]
BagKind: TypeAlias = Literal["none", "backpack", "shoulder bag"]

SKIN: dict[RGB, float] = {
    (236, 196, 170): 4,
    (222, 176, 146): 5,
    (198, 150, 118): 3,
    (158, 112, 84): 2,
    (104, 72, 54): 1.5,
}
HAIR: dict[RGB, float] = {
    (26, 23, 24): 7,
    (48, 36, 30): 4,
    (88, 60, 42): 2,
    (168, 132, 88): 1,
    (140, 138, 136): 1,
}
DARK: dict[RGB, float] = {(28, 28, 32): 6, (38, 44, 66): 4, (66, 68, 74): 3, (58, 52, 46): 1}
LIGHT: dict[RGB, float] = {(232, 232, 230): 6, (176, 178, 182): 3, (214, 202, 178): 1.5}
VIVID: dict[RGB, float] = {
    (176, 36, 42): 3,
    (46, 84, 158): 3,
    (60, 118, 78): 2,
    (222, 186, 62): 1.5,
    (218, 140, 158): 1.5,
    (112, 62, 128): 1.2,
    (222, 112, 48): 1,
    (120, 178, 210): 2,
}
TROUSERS: dict[RGB, float] = {
    (34, 34, 40): 6,
    (54, 68, 98): 5,
    (94, 116, 150): 2,
    (92, 90, 88): 2,
    (172, 154, 122): 2,
    (84, 84, 62): 1,
    (206, 204, 198): 1,
}
SHOES: dict[RGB, float] = {(36, 34, 36): 5, (222, 222, 222): 4, (98, 70, 52): 2, (150, 44, 48): 0.7}
BAGS: dict[RGB, float] = {(34, 34, 38): 5, (54, 66, 104): 2, (130, 44, 48): 1.5, (122, 106, 82): 1}

HAIR_OF_MEN: dict[HairStyle, float] = {"short": 6, "cropped": 4, "bald": 0.8, "bob": 0.4}
HAIR_OF_WOMEN: dict[HairStyle, float] = {"long": 4, "ponytail": 4, "bob": 3, "bun": 2, "short": 1}
UPPER_OF_MEN: dict[UpperKind, float] = {
    "t-shirt": 6,
    "polo": 2,
    "shirt": 2.5,
    "hoodie": 1.5,
    "jacket": 2,
    "tank top": 0.5,
}
UPPER_OF_WOMEN: dict[UpperKind, float] = {
    "t-shirt": 5,
    "shirt": 2,
    "hoodie": 1,
    "jacket": 2,
    "dress": 2.5,
    "tank top": 1.2,
}
LOWER_OF_MEN: dict[LowerKind, float] = {"trousers": 6, "shorts": 4}
LOWER_OF_WOMEN: dict[LowerKind, float] = {"trousers": 5, "shorts": 2, "skirt": 2.5}
PATTERNS: dict[Pattern, float] = {
    "plain": 7,
    "logo": 3,
    "stripes": 1.5,
    "check": 1.2,
    "two-tone": 1.2,
}
BAG_KINDS: dict[BagKind, float] = {"none": 5, "backpack": 3, "shoulder bag": 2}


@dataclass(frozen=True)
class Upper:
    """A garment that covers the share `sleeve` of the arms; `inner` shows where it is open."""

    kind: UpperKind
    colour: RGB
    accent: RGB
    inner: RGB
    pattern: Pattern
    sleeve: float


@dataclass(frozen=True)
class Lower:
    """What the legs wear; `length` is the share of the leg it covers."""

    kind: LowerKind
    colour: RGB
    length: float
    looseness: float


@dataclass(frozen=True)
class Person:
    """An identity.

    Attributes:
        height: In metres.
        build: From slim, -1, to stout, 1.
        curves: 0 for broad shoulders and a straight waist, 1 for narrow shoulders and wide hips.
        swing: Length of the stride, 1 on average.
    """

    height: float
    build: float
    curves: float
    swing: float
    skin: RGB
    hair: RGB
    hair_style: HairStyle
    beard: bool
    glasses: bool
    hat: RGB | None
    upper: Upper
    lower: Lower
    shoes: RGB
    bag: BagKind
    bag_colour: RGB


def _pick(rng: np.random.Generator, weights: dict[T, float]) -> T:
    shares = np.array(list(weights.values()))
    return list(weights)[int(rng.choice(len(shares), p=shares / shares.sum()))]


def _tint(rng: np.random.Generator, weights: dict[RGB, float]) -> RGB:
    """A colour of the palette, no two quite alike."""
    colour = np.array(_pick(rng, weights)) * rng.uniform(0.88, 1.1) + rng.normal(0, 4, 3)
    red, green, blue = (int(c) for c in np.clip(colour, 14, 240))
    return red, green, blue


def _cloth(rng: np.random.Generator) -> RGB:
    return _tint(rng, (DARK, LIGHT, VIVID)[rng.choice(3, p=(0.42, 0.26, 0.32))])


def _upper(rng: np.random.Generator, kinds: dict[UpperKind, float]) -> Upper:
    kind = _pick(rng, kinds)
    long = kind in ("hoodie", "jacket") or (kind == "shirt" and rng.random() < 0.6)
    sleeve = 1.0 if long else {"dress": 0.2, "tank top": 0.0}.get(kind, rng.uniform(0.34, 0.48))
    pattern = "plain" if kind == "tank top" else _pick(rng, PATTERNS)
    colour, accent = _cloth(rng), _cloth(rng)
    if abs(sum(colour) - sum(accent)) < 150:
        accent = (226, 224, 220) if sum(colour) < 380 else (44, 44, 54)
    return Upper(kind, colour, accent, _tint(rng, LIGHT | DARK), pattern, sleeve)


def _lower(rng: np.random.Generator, kinds: dict[LowerKind, float]) -> Lower:
    kind = _pick(rng, kinds)
    length = {
        "trousers": 1.0,
        "shorts": rng.uniform(0.3, 0.56),
        "skirt": rng.uniform(0.3, 0.6),
    }[kind]
    return Lower(kind, _tint(rng, TROUSERS), length, rng.uniform(0.15, 1.0))


def generator(seed: int, identity: int, camera: int = 0, shot: int = 0) -> np.random.Generator:
    """Chance of its own for a person, their walk past a camera and one picture of it."""
    return np.random.default_rng([seed, identity, camera, shot])


@lru_cache(maxsize=1024)
def make_person(identity: int, *, seed: int = 0) -> Person:
    """Draw the person with number `identity`, who is the same in every sample of one `seed`."""
    rng = generator(seed, identity)
    woman = rng.random() < 0.47
    upper = _upper(rng, UPPER_OF_WOMEN if woman else UPPER_OF_MEN)
    lower = _lower(rng, LOWER_OF_WOMEN if woman else LOWER_OF_MEN)
    if upper.kind == "dress":
        lower = replace(lower, kind="skirt", colour=upper.colour, length=rng.uniform(0.35, 0.62))
    return Person(
        height=rng.normal(1.63 if woman else 1.75, 0.06),
        build=float(np.clip(rng.normal(0, 0.5), -1, 1)),
        curves=float(rng.uniform(0.6, 1.0) if woman else rng.uniform(0.0, 0.3)),
        swing=rng.uniform(0.75, 1.25),
        skin=_tint(rng, SKIN),
        hair=_tint(rng, HAIR),
        hair_style=_pick(rng, HAIR_OF_WOMEN if woman else HAIR_OF_MEN),
        beard=not woman and rng.random() < 0.18,
        glasses=rng.random() < 0.25,
        hat=_cloth(rng) if rng.random() < 0.1 else None,
        upper=upper,
        lower=lower,
        shoes=_tint(rng, SHOES),
        bag=_pick(rng, BAG_KINDS),
        bag_colour=_tint(rng, BAGS),
    )
