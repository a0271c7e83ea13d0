"""The surfaces of a person in a pose: legs, trunk, arms and bag."""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np

from src.datamodules.components.sample import paint
from src.datamodules.components.sample.head import head
from src.datamodules.components.sample.person import Person
from src.datamodules.components.sample.surface import Array, Surface, ball, spline, tube

ANKLE, KNEE, HIP, WAIST, CHEST, SHOULDER, NECK = 0.045, 0.285, 0.53, 0.63, 0.735, 0.812, 0.845
UPPER_ARM, FOREARM = 0.168, 0.148


@dataclass(frozen=True)
class Pose:
    """A moment of a walk.

    Attributes:
        phase: Of the stride in radians; legs and arms are furthest apart at pi/2 and 3 pi/2.
        stride: Swing of the thighs in radians, 0 for standing.
        lift: Bend of the (right, left) elbow in radians; about 2 holds something up.
        look: Turn of the head to the left, in radians.
        nod: How far the head looks down, in radians.
    """

    phase: float
    stride: float
    lift: tuple[float, float]
    look: float
    nod: float


class Leg(NamedTuple):
    """Joints of a leg and the slope of its foot in radians, positive with the heel up."""

    hip: Array
    knee: Array
    ankle: Array
    slope: float


def make_body(person: Person, pose: Pose) -> Iterator[Surface]:
    """Yield the surfaces of `person` in `pose`, one foot on the ground at y = 0."""
    legs = _stride(person, pose)
    sink = np.array([0.0, legs[0].hip[1] - HIP, 0.0])
    for leg in legs:
        yield from _leg(person, leg)
    for part in _above_legs(person, pose, legs):
        yield replace(part, centres=part.centres + sink)


def _above_legs(person: Person, pose: Pose, legs: list[Leg]) -> Iterator[Surface]:
    yield from _trunk(person)
    if person.lower.kind == "skirt":
        yield _skirt(person, legs)
    for side in (-1, 1):
        yield from _arm(person, pose, side)
    yield from head(person, look=pose.look, nod=pose.nod)
    yield from _bag(person)


def _swung(start: Array, length: float, angle: float, spread: float) -> Array:
    """The end of a limb hanging from `start`, swung ahead by `angle`, left by `spread` radians."""
    down, left = np.cos(spread), np.sin(spread)
    return start + length * np.array([left, -np.cos(angle) * down, np.sin(angle) * down])


def _stride(person: Person, pose: Pose) -> list[Leg]:
    """Right and left leg, the lower foot on the ground."""
    legs = []
    for side in (-1, 1):
        phase = pose.phase + (np.pi if side > 0 else 0)
        thigh = pose.stride * (np.sin(phase) + 0.12)
        bend = pose.stride * (0.25 + 1.15 * max(np.cos(phase - 0.5), 0.0) ** 1.5)
        hip = np.array([side * (0.046 + 0.008 * person.curves + 0.006 * person.build), HIP, 0.0])
        knee = _swung(hip, HIP - KNEE, thigh, side * 0.012)
        ankle = _swung(knee, KNEE - ANKLE, thigh - bend, 0.0)
        slope = 0.9 * max(0.0, bend - thigh) - 0.5 * max(0.0, thigh - bend)
        legs.append(Leg(hip, knee, ankle, slope))
    drop = np.array([0.0, ANKLE - min(leg.ankle[1] for leg in legs), 0.0])
    return [Leg(leg.hip + drop, leg.knee + drop, leg.ankle + drop, leg.slope) for leg in legs]


def _leg(person: Person, leg: Leg) -> Iterator[Surface]:
    hip, knee, ankle, _ = leg
    lower = person.lower
    calf = (knee + ankle) / 2 + [0, 0.03, -0.008]
    path = [hip, (hip + knee) / 2, knee, calf, ankle]
    thickness = 1 + 0.16 * person.build
    radii = np.array([0.042, 0.055, 0.054, 0.046, 0.037, 0.037, 0.035, 0.026, 0.021]) * thickness
    length = 0.0 if lower.kind == "skirt" else lower.length
    if length < 1:
        yield tube(path, radii, paint.plain(person.skin), roughness=0.015)
    if length:
        loose = np.array([0, 5, 8, 11, 13, 12, 14, 17, 19]) * lower.looseness / 1500
        flare = np.linspace(0, 0.02, len(radii)) * (length < 1)
        yield tube(
            path,
            radii + 0.004 + loose + flare,
            paint.trousers(lower),
            keep=lambda u, v: u < length,
            roughness=0.07,
        )
    yield _shoe(person, leg)


def _shoe(person: Person, leg: Leg) -> Surface:
    ahead = np.array([0.0, -np.sin(leg.slope), np.cos(leg.slope)])
    up = np.array([0.0, np.cos(leg.slope), np.sin(leg.slope)])
    heel = leg.ankle - 0.030 * ahead - 0.018 * up
    sole = (226, 224, 220) if sum(person.shoes) < 560 else (150, 148, 146)
    return tube(
        [heel, heel + 0.07 * ahead - 0.002 * up, heel + 0.136 * ahead - 0.008 * up],
        [(0, 0), (0.023, 0.032), (0.025, 0.034), (0.027, 0.025), (0.026, 0.018), (0, 0)],
        paint.over(paint.plain(person.shoes), sole, lambda u, v: np.abs(v) < 0.75),
        roughness=0.03,
    )


def _trunk(person: Person) -> Iterator[Surface]:
    """Pelvis and upper garment: half axes at fixed heights, the cloth around them."""
    build, curves, upper = person.build, person.curves, person.upper
    stout = 1 + 0.13 * build
    hips, waist, chest = 0.093 + 0.008 * curves, 0.081 - 0.009 * curves, 0.102 - 0.013 * curves
    belly = 0.062 + 0.024 * max(build, 0) - 0.004 * curves
    yield tube(
        [(0, 0.455, 0), (0, 0.62, 0)],
        np.array([(0.060, 0.050), (hips, 0.076), (hips, 0.074), (waist, belly)]) * stout + 0.003,
        paint.plain(person.lower.colour),
        roughness=0.05,
    )
    hem = {"jacket": 0.47, "hoodie": 0.485, "dress": 0.60, "shirt": 0.485}.get(upper.kind, 0.495)
    if person.lower.kind == "skirt":
        hem = max(hem, 0.605)
    thick = {"jacket": 0.015, "hoodie": 0.014, "dress": 0.003}.get(upper.kind, 0.008)
    collar = 0.88
    shape = [
        (0.46, hips + 0.007, 0.086, thick),
        (HIP, hips + 0.004, 0.080, thick),
        (WAIST, (waist + hips) / 2 - 0.003, belly + 0.006, thick),
        (CHEST, chest, 0.068 + 0.008 * curves, thick),
        (0.785, chest - 0.002, 0.060, thick),
        (SHOULDER, chest - 0.022, 0.052, thick),
        (0.831, 0.054, 0.043, 0.7 * thick),
        (NECK + 0.004, 0.036, 0.037, 0.2 * thick),
        (collar, 0.033, 0.034, 0),
    ]
    heights, *axes = np.array(shape).T
    at = np.linspace(hem, collar, 24)
    width, depth, cloth = spline(np.stack(axes, axis=1), at, heights).T
    bow = 0.012 * np.sin((at - 0.5) * 9) - 0.004
    yield Surface(
        np.stack([0 * at, at, bow], axis=1),
        np.stack([width, depth], axis=1) * stout ** (at < SHOULDER)[:, None] + cloth[:, None],
        paint.torso(person, neckline=(0.828 - hem) / (collar - hem)),
        roughness=0.09,
    )
    if upper.kind == "hoodie":
        hood = paint.plain(upper.colour)
        yield ball((0, 0.835, -0.046), (0.066, 0.034, 0.036), hood, roughness=0.08)


def _skirt(person: Person, legs: list[Leg]) -> Surface:
    """From the waist to the hem, wide enough for the stride."""
    length = person.lower.length
    reach = max(abs(leg.knee[2]) for leg in legs)
    hips = (0.104 + 0.008 * person.curves) * (1 + 0.13 * person.build)
    flare = 0.02 + 0.03 * person.lower.looseness
    dress = person.upper.kind == "dress"
    return tube(
        [(0, 0.635, 0), (0, HIP, 0), (0, 0.50 - 0.42 * length, 0)],
        [
            (0.84 * hips, 0.078),
            (hips, 0.088),
            (hips + 0.4 * flare, 0.092 + 0.5 * reach * length),
            (hips + 0.8 * flare, 0.094 + 0.65 * reach),
            (hips + flare, 0.095 + 0.8 * reach),
        ],
        paint.cloth(person.upper) if dress else paint.plain(person.lower.colour),
        roughness=0.085,
    )


def _arm(person: Person, pose: Pose, side: int) -> Iterator[Surface]:
    upper = person.upper
    lift = pose.lift[side > 0]
    raised = lift > 1.2
    swing = 0.35 if raised else -0.75 * pose.stride * np.sin(pose.phase + np.pi * (side > 0))
    inner = np.array([side * (0.066 - 0.012 * person.curves), SHOULDER - 0.006, -0.004])
    breadth = 0.108 - 0.019 * person.curves + 0.012 * person.build
    shoulder = np.array([side * breadth, SHOULDER - 0.034, -0.004])
    elbow = _swung(shoulder, UPPER_ARM - 0.02, swing, side * (0.14 + 0.08 * person.build))
    wrist = _swung(elbow, FOREARM, swing + lift, -side * (0.14 if raised else 0.02))
    path = [inner, shoulder, (shoulder + elbow) / 2, elbow, (elbow + wrist) / 2, wrist]
    thickness = 1 + 0.18 * person.build - 0.10 * person.curves
    radii = np.array([0.018, 0.030, 0.032, 0.030, 0.028, 0.025, 0.023, 0.018, 0.015]) * thickness
    if upper.sleeve < 1:
        yield tube(path, radii, paint.plain(person.skin), roughness=0.015)
    if upper.sleeve > 0:
        loose = 0.009 if upper.kind in ("jacket", "hoodie") else 0.004
        widening = np.linspace(0, 0.018 if upper.sleeve < 1 else 0.007, len(radii))
        yield tube(
            path,
            radii + loose + widening,
            paint.cloth(upper, sleeve=True),
            keep=lambda u, v: u < min(upper.sleeve, 0.97),
            roughness=0.07,
        )
    forearm = (wrist - elbow) / FOREARM
    skin = paint.plain(person.skin)
    yield ball(wrist + 0.030 * forearm, (0.013, 0.036, 0.020), skin, up=forearm)


def _bag(person: Person) -> Iterator[Surface]:
    colour, dark = person.bag_colour, paint.mix(person.bag_colour, (0, 0, 0), 0.4)
    match person.bag:
        case "backpack":
            pack = paint.over(paint.plain(colour), dark, paint.box(0.46, 0.49, -4, 4))
            for side in (-2.5, 2.5):
                pack = paint.over(pack, dark, paint.box(0, 0.46, side - 0.06, side + 0.06))
            behind = -0.115 - 0.012 * person.build
            yield ball((0, 0.69, behind), (0.084, 0.115, 0.056), pack, roughness=0.08, squareness=4)
        case "shoulder bag":
            pouch = paint.over(paint.plain(colour), dark, paint.box(0.60, 0.64, -4, 4))
            hip = (0.122 + 0.012 * person.build, 0.53, 0.012)
            yield ball(hip, (0.028, 0.062, 0.080), pouch, roughness=0.06, squareness=4)
