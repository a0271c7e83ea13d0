"""What six cameras make of a person: place, viewpoint, framing, occlusion, light and defects."""

import io
from dataclasses import dataclass, replace

import numpy as np
from PIL import Image, ImageDraw, ImageFilter

from src.datamodules.components.sample.body import Pose, make_body
from src.datamodules.components.sample.person import Person
from src.datamodules.components.sample.scene import HEIGHT, WIDTH, bicycle, scene
from src.datamodules.components.sample.surface import Array, View, draw

ROWS, COLUMNS = 128, 64
OVERSAMPLING = 2
"""Drawn that much larger and averaged, so that edges are smooth."""


@dataclass(frozen=True)
class Camera:
    """A camera, whose properties all its pictures share.

    Attributes:
        place: Index of the background.
        heading: Usual heading of the people who pass, in radians: 0 towards the camera.
        pitch: How far it looks down, in radians.
        light: Direction towards the light: right, up, towards the camera.
        ambient: Share of the light that comes from everywhere.
        cast: Gains of red, green and blue.
        contrast: 1 leaves the picture as it is, as do the next two.
        saturation: Distance from grey.
        gamma: Above 1 darkens the mid-tones.
        blur: Standard deviation in pixels.
        noise: Standard deviation, of 255.
        quality: Of the JPEG.
    """

    place: int
    heading: float
    pitch: float
    light: tuple[float, float, float]
    ambient: float
    cast: tuple[float, float, float]
    contrast: float = 1.0
    saturation: float = 1.0
    gamma: float = 1.0
    blur: float = 0.4
    noise: float = 2.0
    quality: int = 88


CAMERAS = (
    Camera(0, 0.3, 0.16, (-0.45, 0.70, 0.55), 0.60, (1.08, 1.05, 1.00)),
    Camera(1, 2.8, 0.12, (0.60, 0.65, 0.46), 0.58, (1.05, 1.08, 1.00), saturation=0.95, noise=3),
    Camera(2, 1.4, 0.14, (-0.20, 0.75, 0.63), 0.68, (1.10, 1.02, 0.92), blur=0.5),
    Camera(3, 0.6, 0.20, (0.30, 0.85, 0.43), 0.75, (0.90, 0.96, 1.06), 0.95, 0.85, 1.1, 0.5, 4, 80),
    Camera(4, -1.6, 0.10, (-0.70, 0.50, 0.51), 0.55, (1.10, 1.06, 1.02), gamma=0.92, quality=84),
    Camera(
        5, 3.4, 0.18, (0.10, 0.80, 0.59), 0.80, (1.00, 1.03, 1.06), 0.85, 0.8, blur=0.7, noise=4
    ),
)


def photograph(
    person: Person,
    camera: Camera,
    passer_by: Person,
    *,
    track: np.random.Generator,
    shot: np.random.Generator,
) -> bytes:
    """Take a picture of somebody who walks past.

    Args:
        person: Who is in the box.
        camera: Which camera.
        passer_by: Who may come into the picture.
        track: Source of what the pictures of one walk past the camera share.
        shot: Source of everything that differs between two pictures.

    Returns:
        A JPEG file, 128 x 64 RGB.
    """
    walk = _walk(camera, track)
    if shot.random() < 0.4:
        # They came by a second time.
        walk = _walk(camera, shot)
    view = _frame(person, camera, walk, shot)
    picture = _background(camera, walk, shot)
    event = shot.random()
    layers = [(person, view)]
    if event < 0.12:
        layers.insert(int(shot.random() < 0.4), (passer_by, _aside(view, shot)))
    for who, where in layers:
        picture = _stand(picture, who, where, shot)
    if 0.12 <= event < 0.24:
        picture = _occlude(picture, shot)
    return _develop(picture, camera, walk, shot)


@dataclass(frozen=True)
class Walk:
    """One walk past a camera.

    Attributes:
        heading: In radians, 0 towards the camera.
        left: Where the crops lie in the scene, as a share of its width.
        exposure: Gains of red, green and blue.
        dim: Added to the share of ambient light.
    """

    heading: float
    left: float
    exposure: Array
    dim: float


def _walk(camera: Camera, rng: np.random.Generator) -> Walk:
    back = np.pi if rng.random() < 0.3 else 0.0
    return Walk(
        heading=camera.heading + back + rng.normal(0, 0.4),
        left=rng.random(),
        exposure=rng.lognormal(0, 0.07) * rng.lognormal(0, 0.02, 3),
        dim=rng.normal(0, 0.08),
    )


def _frame(person: Person, camera: Camera, walk: Walk, rng: np.random.Generator) -> View:
    """Where the box of a detector puts the person: off centre, too tight or too wide."""
    size = ROWS * np.clip(rng.normal(0.89, 0.045), 0.76, 1.06) * (person.height / 1.69) ** 0.5
    # A tight box may cut the feet or the head.
    top = rng.normal(0.5, 0.22) * (ROWS - size) + rng.normal(0, 2)
    return View(
        yaw=walk.heading + rng.normal(0, 0.3),
        pitch=camera.pitch,
        scale=size * OVERSAMPLING,
        x=(COLUMNS / 2 + rng.normal(0, 3)) * OVERSAMPLING,
        y=(top + size) * OVERSAMPLING,
        light=camera.light,
        ambient=float(np.clip(camera.ambient + walk.dim, 0.3, 0.95)),
    )


def _aside(view: View, rng: np.random.Generator) -> View:
    """Somebody else's place next to the person."""
    side = rng.choice([-1, 1])
    return replace(
        view,
        yaw=view.yaw + rng.choice([0.0, np.pi]) + rng.normal(0, 0.4),
        scale=view.scale * rng.uniform(0.88, 1.05),
        x=view.x + side * rng.uniform(22, 34) * OVERSAMPLING,
        y=view.y + rng.normal(0, 3) * OVERSAMPLING,
    )


def _background(camera: Camera, walk: Walk, rng: np.random.Generator) -> Image.Image:
    """The part of the scene behind the person, as large as the picture is drawn."""
    zoom = rng.uniform(0.9, 1.1)
    width, height = COLUMNS * zoom, ROWS * zoom
    left = np.clip(walk.left * (WIDTH - width) + rng.normal(0, 8), 0, WIDTH - width)
    top = np.clip(rng.normal(12, 4), 0, HEIGHT - height)
    size = (COLUMNS * OVERSAMPLING, ROWS * OVERSAMPLING)
    box = (left, top, left + width, top + height)
    return scene(camera.place).resize(size, Image.Resampling.BILINEAR, box=box)


def _pose(person: Person, rng: np.random.Generator) -> Pose:
    stride = 0.0 if rng.random() < 0.12 else rng.uniform(0.25, 0.5) * person.swing
    lift = [rng.uniform(0.1, 0.55), rng.uniform(0.1, 0.55)]
    if rng.random() < 0.15:
        lift[rng.integers(2)] = rng.uniform(1.7, 2.3)
    look = float(np.clip(rng.normal(0, 0.35), -0.9, 0.9))
    return Pose(rng.uniform(0, 2 * np.pi), stride, (lift[0], lift[1]), look, rng.uniform(0.0, 0.3))


def _stand(
    picture: Image.Image, person: Person, view: View, rng: np.random.Generator
) -> Image.Image:
    """Put the person and their shadow on the ground into the picture."""
    size = (picture.height, picture.width)
    pose = _pose(person, rng)
    layer = draw(make_body(person, pose), view, size, int(rng.integers(1 << 14)))
    shade = Image.new("L", picture.size)
    long, flat = 0.17 * view.scale, 0.035 * view.scale
    slip = -0.10 * view.scale * view.light[0]
    box = (view.x + slip - long, view.y - 1.8 * flat, view.x + slip + long, view.y + 0.6 * flat)
    ImageDraw.Draw(shade).ellipse(box, fill=round(190 * (1 - 0.6 * view.ambient)))
    shade = shade.filter(ImageFilter.BoxBlur(float(0.018 * view.scale)))
    picture = Image.composite(Image.new("RGB", picture.size, (16, 16, 20)), picture, shade)
    body = Image.fromarray(np.clip(layer[..., :3], 0, 255).astype(np.uint8))
    return Image.composite(body, picture, Image.fromarray((layer[..., 3] * 255).astype(np.uint8)))


def _occlude(picture: Image.Image, rng: np.random.Generator) -> Image.Image:
    """Something in front of the person: a pole, a bicycle, or a bollard and a railing."""
    pen = ImageDraw.Draw(picture)
    width, height = picture.size
    x = rng.uniform(0.1, 0.9) * width
    match rng.integers(3):
        case 0:
            thick = rng.uniform(0.05, 0.11) * width
            pen.rectangle((x, 0, x + thick, height), fill=(104, 108, 110))
            pen.rectangle((x, 0, x + 0.35 * thick, height), fill=(140, 144, 146))
        case 1:
            size = rng.uniform(0.20, 0.26) * width
            colour = ((150, 40, 44), (60, 72, 110), (40, 40, 44))[rng.integers(3)]
            bicycle(pen, x - 1.8 * size, height * rng.uniform(0.97, 1.08), size, colour)
        case _:
            top = rng.uniform(0.68, 0.85) * height
            for row in (top, top + 0.10 * height):
                pen.rectangle((0, row, width, row + 0.022 * height), fill=(150, 152, 150))
            for column in np.arange(x % (0.4 * width), width, 0.4 * width):
                pen.rectangle((column, top, column + 0.04 * width, height), fill=(122, 124, 124))
    return picture


def _develop(picture: Image.Image, camera: Camera, walk: Walk, rng: np.random.Generator) -> bytes:
    """Sharpness, exposure, noise and compression."""
    if rng.random() < 0.15:
        share = rng.uniform(0.4, 0.65)
        picture = picture.resize(
            (round(COLUMNS * share), round(ROWS * share)), Image.Resampling.BOX
        )
        picture = picture.resize((COLUMNS, ROWS), Image.Resampling.BICUBIC)
    else:
        picture = picture.reduce(OVERSAMPLING)
    picture = picture.filter(ImageFilter.GaussianBlur(camera.blur * rng.uniform(0.6, 1.6)))
    pixels = np.asarray(picture, dtype=np.float64) / 255
    gain = walk.exposure * rng.lognormal(0, 0.03)
    exposed: Array = _expose(pixels, camera, gain) * 255
    for channels in (1, 3):
        exposed = exposed + 0.7 * camera.noise * rng.normal(size=(ROWS, COLUMNS, channels))
    file = io.BytesIO()
    quality = camera.quality + int(rng.integers(-6, 5))
    Image.fromarray(np.clip(exposed, 0, 255).astype(np.uint8)).save(file, "JPEG", quality=quality)
    return file.getvalue()


def _expose(pixels: Array, camera: Camera, gain: Array) -> Array:
    """Exposure and colour cast, gamma, saturation and contrast; values in 0..1."""
    pixels = np.clip(pixels * gain * camera.cast, 0, 1) ** camera.gamma
    grey = pixels.mean(axis=2, keepdims=True)
    pixels = grey + camera.saturation * (pixels - grey)
    return 0.47 + camera.contrast * (pixels - 0.47)
