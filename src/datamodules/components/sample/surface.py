"""Round surfaces in space and their orthographic picture: all that is needed to draw a person.

A surface is a dense grid of points with normals, and drawing it means writing every point into its
pixel, farthest first. Nothing is triangulated; patterns are functions of the position on a surface.

Space is measured in body heights: x to the person's left, y up, z ahead.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import lru_cache
from typing import TypeAlias

import numpy as np
from numpy.typing import ArrayLike, NDArray

Array: TypeAlias = NDArray[np.floating]
Mask: TypeAlias = NDArray[np.bool_]
RGB: TypeAlias = tuple[int, int, int]
Where: TypeAlias = Callable[[Array, Array], Mask]
"""Selects positions: `along` the surface in 0..1, and `around` it, an angle: 0 ahead, pi/2 left."""
Paint: TypeAlias = Callable[[Array, Array], Array]
"""Colours [N, 3] in 0..255 at the positions along [N] and around [N]."""

SECTIONS = 24
DENSITY = 1.1
"""Points per pixel in each direction, enough to leave no holes between them."""


@dataclass(frozen=True)
class Surface:
    """A tube with elliptic cross-sections.

    Attributes:
        centres: Centres of the cross-sections, [SECTIONS, 3].
        radii: Their half axes towards the person's left and front, [SECTIONS, 2].
        paint: Colour at every position.
        keep: Selects the positions that exist, `None` for all.
        roughness: Strength of folds and strands, as a share of the light.
    """

    centres: Array
    radii: Array
    paint: Paint
    keep: Where | None = None
    roughness: float = 0.0


@dataclass(frozen=True)
class View:
    """Where the person is looked at from, and where they land in the picture.

    Attributes:
        yaw: Heading in radians: 0 towards the camera, pi away from it.
        pitch: How far the camera looks down, in radians.
        scale: Pixels per body height.
        x: Column of the body's axis, in pixels.
        y: Row of the ground under the body, in pixels.
        light: Unit vector towards the light: right, up, towards the camera.
        ambient: Share of the light that comes from everywhere.
    """

    yaw: float
    pitch: float
    scale: float
    x: float
    y: float
    light: tuple[float, float, float]
    ambient: float


def spline(values: ArrayLike, at: Array, knots: ArrayLike) -> Array:
    """Interpolate smoothly (cubic Hermite, slopes by central differences).

    Args:
        values: Values at the knots, [K, C].
        at: Positions to interpolate at, [N].
        knots: Increasing positions of the values, [K].

    Returns:
        Interpolated values, [N, C].
    """
    y = np.asarray(values, dtype=np.float64)
    x = np.asarray(knots, dtype=np.float64)
    ends = np.concatenate([[0], np.arange(len(x)), [len(x) - 1]])
    before, after = ends[:-2], ends[2:]
    slopes = (y[after] - y[before]) / (x[after] - x[before])[:, None]
    left = np.clip(np.searchsorted(x, at, side="right") - 1, 0, len(x) - 2)
    step = (x[left + 1] - x[left])[:, None]
    t = (at - x[left])[:, None] / step
    blend = t * t * (3 - 2 * t)
    bulge = t * (1 - t) * step * ((1 - t) * slopes[left] - t * slopes[left + 1])
    return (1 - blend) * y[left] + blend * y[left + 1] + bulge


@lru_cache
def _even(knots: int) -> Array:
    """Weights [SECTIONS, knots] of the values at evenly spread knots in their `spline`."""
    return spline(np.eye(knots), np.linspace(0, 1, SECTIONS), np.linspace(0, 1, knots))


def tube(
    path: ArrayLike,
    radii: ArrayLike,
    paint: Paint,
    *,
    keep: Where | None = None,
    roughness: float = 0.0,
) -> Surface:
    """Sweep an ellipse along a smooth path.

    Args:
        path: Points that the path runs through, [P, 3].
        radii: Half axes left and ahead, [R, 2], or the radius of a circle, [R], spread evenly
            along the path.
        paint: As in `Surface`, like the options.
        keep: As in `Surface`.
        roughness: As in `Surface`.
    """
    points, axes = np.asarray(path, dtype=np.float64), np.asarray(radii, dtype=np.float64)
    if axes.ndim == 1:
        axes = np.stack([axes, axes], axis=1)
    steps = np.sqrt(((points[1:] - points[:-1]) ** 2).sum(axis=1))
    knots = np.concatenate([[0.0], np.cumsum(steps)]) / steps.sum()
    centres = spline(points, np.linspace(0, 1, SECTIONS), knots)
    return Surface(centres, np.maximum(_even(len(axes)) @ axes, 0), paint, keep, roughness)


def ball(
    centre: ArrayLike,
    radii: tuple[float, float, float],
    paint: Paint,
    *,
    up: ArrayLike = (0, 1, 0),
    keep: Where | None = None,
    roughness: float = 0.0,
    squareness: float = 2.0,
) -> Surface:
    """An ellipsoid with half axes left, `up` and ahead; `squareness` above 2 makes it boxier."""
    height = -np.cos(np.linspace(0, np.pi, SECTIONS))[:, None]
    girth = (1 - np.abs(height) ** squareness) ** (1 / squareness)
    centres = np.asarray(centre) + radii[1] * height * np.asarray(up, dtype=np.float64)
    return Surface(centres, girth * [radii[0], radii[2]], paint, keep, roughness)


def _unit(vectors: Array) -> Array:
    return vectors / np.sqrt((vectors**2).sum(axis=-1, keepdims=True) + 1e-12)


def _steps(values: Array) -> Array:
    """Central differences along the sections, the second axis."""
    before, after = values[:, :1], values[:, -1:]
    before, after = 2 * before - values[:, 1:2], 2 * after - values[:, -2:-1]
    longer = np.concatenate([before, values, after], axis=1)
    return (longer[:, 2:] - longer[:, :-2]) / 2


def _turn(vectors: Array, view: View) -> Array:
    """From the person's frame to the camera's: right, up, towards the camera; [..., 3]."""
    x, y, z = np.moveaxis(vectors, -1, 0)
    sin, cos = np.sin(view.yaw), np.cos(view.yaw)
    x, z = x * cos + z * sin, z * cos - x * sin
    sin, cos = np.sin(view.pitch), np.cos(view.pitch)
    return np.stack([x, y * cos - z * sin, z * cos + y * sin], axis=-1)


def _sections(surfaces: list[Surface], view: View) -> tuple[Array, Array]:
    """The cross-sections of P surfaces as the camera sees them.

    Returns:
        Per section the centre, the unit vectors left, ahead and along, the two half axes, and how
        fast they grow, in pixels, [P, K, 15]; and an upper bound of how far the next section is on
        the surface, [P, K].
    """
    centres = np.stack([surface.centres for surface in surfaces]) * view.scale
    radii = np.stack([surface.radii for surface in surfaces]) * view.scale
    steps, growth = _steps(centres), _steps(radii)
    length = np.sqrt((steps**2).sum(axis=-1))
    along = _unit(steps)
    left = _unit(np.array([1.0, 0.0, 0.0]) - along[..., :1] * along)
    ahead = np.cross(left, along)
    slopes = np.clip(growth.mean(axis=-1) / (length + 1e-9), -6, 6)
    bend = np.sqrt((_steps(along) ** 2).sum(axis=-1))
    paces = length + np.abs(growth).max(axis=-1) + radii.max(axis=-1) * bend
    turned = [_turn(vectors, view) for vectors in (centres, left, ahead, along)]
    return np.concatenate([*turned, radii, slopes[..., None]], axis=-1), paces


def _fabric() -> Array:
    """Smooth periodic noise of unit variance, [128, 128]: folds, looked up by position."""
    noise = np.random.default_rng(1).normal(size=(128, 128))
    for axis, widths in ((0, (5, 5, 7)), (1, (3, 3, 5))):
        for width in widths:
            noise = np.mean([np.roll(noise, k, axis=axis) for k in range(width)], axis=0)
    return noise / noise.std()


_FABRIC = _fabric().astype(np.float32)


@lru_cache(maxsize=512)
def _circle(points: int) -> tuple[Array, Array, Array]:
    """Angles from -pi to pi with their sine and cosine."""
    angles = (2 * np.arange(points) / points - 1) * np.pi
    # Rounded from double precision, where machines agree.
    sin, cos = np.sin(angles).astype(np.float32), np.cos(angles).astype(np.float32)
    return angles.astype(np.float32), sin, cos


class _Points:
    """The points of one surface that face the camera.

    Attributes:
        pixels: Flat index of the pixel that each lands in, [N].
        nearness: In sixteenths of a pixel, [N].
    """

    def __init__(
        self, surface: Surface, sections: Array, paces: Array, view: View, size: tuple[int, int]
    ) -> None:
        self.surface, self.view = surface, view
        walked = np.cumsum(paces) - paces[0]
        rows = max(6, int(walked[-1] * DENSITY))
        columns = max(8, int(2 * np.pi * sections[:, 12:14].max() * DENSITY))
        at = np.interp(np.arange(rows) * (walked[-1] / (rows - 1)), walked, np.arange(SECTIONS))
        low = np.minimum(at.astype(np.int64), SECTIONS - 2)
        part = (at - low)[:, None]
        self.table = (sections[low] * (1 - part) + sections[low + 1] * part).astype(np.float32)
        self.u = (at / (SECTIONS - 1)).astype(np.float32)
        self.v, sin, cos = _circle(columns)

        centre, left, ahead, along = np.split(self.table[:, :12, None], 4, axis=1)
        width, depth, slope = self.table[:, 12:, None].swapaxes(0, 1)
        across, forth = width * sin, depth * cos
        # The normal of an ellipse swaps its half axes.
        self.sideways, self.forward = depth * sin, width * cos
        norm = np.sqrt(self.sideways**2 + self.forward**2) + np.float32(1e-6)
        self.sideways /= norm
        self.forward /= norm
        facing = self.sideways * left[:, 2] + self.forward * ahead[:, 2] > slope * along[:, 2]
        index = np.flatnonzero(facing)
        if surface.keep is not None:
            i, j = np.divmod(index, columns)
            index = index[surface.keep(self.u[i], self.v[j])]
        x, y, z = (
            (centre[:, k] + across * left[:, k] + forth * ahead[:, k]).ravel()[index]
            for k in range(3)
        )
        column = np.floor(x + np.float32(view.x)).astype(np.int32)
        row = np.floor(np.float32(view.y) - y).astype(np.int32)
        inside = (column >= 0) & (column < size[1]) & (row >= 0) & (row < size[0])
        self.index = index[inside]
        self.pixels = (row * size[1] + column)[inside]
        self.nearness = (z * 16).astype(np.int16)[inside]

    def colours(self, chosen: NDArray[np.int64], seed: int) -> Array:
        """Painted and lit colours [M, 3] of the points with numbers `chosen` [M]."""
        i, j = np.divmod(self.index[chosen], len(self.v))
        shade = self._shade(i, j)
        if self.surface.roughness:
            row = ((self.table[:, 1] * (130 / self.view.scale)).astype(np.int64)[i] + seed) % 128
            column = ((self.v * (64 / np.pi)).astype(np.int64)[j] + seed // 128) % 128
            shade = shade * (1 + self.surface.roughness * _FABRIC[row, column])
        return self.surface.paint(self.u[i], self.v[j]) * shade[:, None]

    def _shade(self, i: NDArray[np.int64], j: NDArray[np.int64]) -> Array:
        """Light [M] that falls on the points in rows `i` and columns `j`."""
        a, b = self.sideways[i, j], self.forward[i, j]
        slope = self.table[:, 14]
        axes = self.table[:, 3:12].reshape(-1, 3, 3) / np.sqrt(1 + slope**2)[:, None, None]
        axes[:, 2] *= slope[:, None]
        right, up, near = (np.float32(part) for part in self.view.light)
        sun = axes[..., 0] * right + axes[..., 1] * up + axes[..., 2] * near
        direct, upward = (
            a * part[i, 0] + b * part[i, 1] - part[i, 2] for part in (sun, axes[..., 1])
        )
        ambient = self.view.ambient
        return ambient * (0.82 + 0.18 * upward) + (1 - ambient) * np.maximum(direct, 0)


def draw(surfaces: Iterable[Surface], view: View, size: tuple[int, int], seed: int) -> Array:
    """Draw surfaces on an empty picture, the near ones over the far ones.

    Args:
        surfaces: What to draw.
        view: From where.
        size: Rows and columns.
        seed: Moves the folds.

    Returns:
        Red, green, blue in 0..255 and coverage 0 or 1, [rows, columns, 4].
    """
    parts = list(surfaces)
    sections, paces = _sections(parts, view)
    grids = [_Points(*one, view, size) for one in zip(parts, sections, paces, strict=True)]
    starts = np.cumsum([0, *(len(grid.pixels) for grid in grids)])
    order = np.argsort(np.concatenate([grid.nearness for grid in grids]), kind="stable")
    visible = np.full(size[0] * size[1], -1)
    # Of equal indices numpy keeps the value written last: the nearest point.
    visible[np.concatenate([grid.pixels for grid in grids])[order]] = order
    covered = np.flatnonzero(visible >= 0)
    winners = visible[covered]
    picture = np.zeros((len(visible), 4), dtype=np.float32)
    picture[covered, 3] = 1
    for k, (grid, start, end) in enumerate(zip(grids, starts, starts[1:], strict=False)):
        own = (winners >= start) & (winners < end)
        if own.any():
            picture[covered[own], :3] = grid.colours(winners[own] - start, seed + 977 * k)
    return picture.reshape(*size, 4)
