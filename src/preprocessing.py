"""What is done to an image before a network sees it."""

import hashlib
import json
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from functools import partial
from typing import Any, Literal, get_args

from PIL import Image
from torch import Tensor
from torchvision import transforms
from torchvision.transforms import InterpolationMode
from torchvision.transforms import functional as F  # noqa: N812

Interpolation = Literal["bilinear", "bicubic"]
Resize = Literal["stretch", "crop"]

AUTO = "auto"
"""The value of an option that is left to the network."""

_PADDING = 15  # pixels around a training image that is cropped at random


@dataclass(frozen=True)
class Preprocessing:
    """The way from an RGB image to the input of a network.

    The defaults are those of the networks that this project trains.

    Attributes:
        size: height and width of the input, in pixels.
        mean: of each channel, to be subtracted from values in [0, 1]; None without normalisation.
        std: of each channel, to be divided by; None likewise.
        interpolation: "bilinear" or "bicubic".
        antialias: whether an image is smoothed as it is made smaller. OpenCV does not do that.
        resize: "stretch" the whole image to `size`, or "crop" the centre of the image, which keeps
            its proportions.
        crop_fraction: share of the height or of the width that a crop keeps, the greater of both.

    Raises:
        ValueError: if a value is another.
    """

    size: tuple[int, int] = (128, 64)
    mean: tuple[float, ...] | None = None
    std: tuple[float, ...] | None = None
    interpolation: Interpolation = "bilinear"
    antialias: bool = True
    resize: Resize = "stretch"
    crop_fraction: float = 1.0

    def __post_init__(self) -> None:
        for name in ("size", "mean", "std"):  # a configuration and a file have lists
            value = getattr(self, name)
            object.__setattr__(self, name, tuple(value) if isinstance(value, list) else value)
        _check(self)

    def __call__(self, image: Image.Image) -> Tensor:
        """Prepare an image as float32 [3, H, W]."""
        return self._scale(self._resize(image))

    def augmented(self) -> Callable[[Image.Image], Tensor]:
        """Return the transform of training images, which are shifted and mirrored at random."""
        augmented: Callable[[Image.Image], Tensor] = transforms.Compose(
            [
                self._resize,
                transforms.Pad(_PADDING),
                transforms.RandomCrop(self.size),
                transforms.RandomHorizontalFlip(),
                self._scale,
            ]
        )
        return augmented

    def to_dict(self) -> dict[str, Any]:
        """Return the values in plain containers, as JSON has them."""
        values: dict[str, Any] = json.loads(json.dumps(asdict(self)))
        return values

    @property
    def sha256(self) -> str:
        """Return a hexadecimal digest of all values."""
        return hashlib.sha256(json.dumps(self.to_dict(), sort_keys=True).encode()).hexdigest()

    def __str__(self) -> str:
        """Describe it in a line."""
        height, width = self.size
        crop = f", centre crop of {self.crop_fraction:g}" if self.resize == "crop" else ""
        smooth = "" if self.antialias else " without antialiasing"
        normalisation = (
            "not normalised" if self.mean is None else f"mean {self.mean}, std {self.std}"
        )
        return f"{height} x {width}, {self.interpolation}{smooth}{crop}, {normalisation}"

    def _resize(self, image: Image.Image) -> Any:  # an image, or a tensor without antialiasing
        resize = partial(
            F.resize,
            image if self.antialias else F.pil_to_tensor(image),  # Pillow always smooths
            interpolation=InterpolationMode(self.interpolation),
            antialias=self.antialias,
        )
        if self.resize == "stretch":
            return resize(list(self.size))
        height, width = (int(side / self.crop_fraction) for side in self.size)
        if height * image.width >= width * image.height:
            width = height * image.width // image.height
        else:
            height = width * image.height // image.width
        return F.center_crop(resize([height, width]), list(self.size))

    def _scale(self, pixels: Image.Image | Tensor) -> Tensor:
        tensor: Tensor = (
            F.convert_image_dtype(pixels) if isinstance(pixels, Tensor) else F.to_tensor(pixels)
        )
        return tensor if self.mean is None else F.normalize(tensor, self.mean, self.std)


def choose_preprocessing(
    options: Mapping[str, Any], trained: Preprocessing | None
) -> tuple[Preprocessing, list[str]]:
    """Complete options with those that the network was trained with.

    Args:
        options: for `Preprocessing`; "auto" stands for the value of the training.
        trained: the values of the training; None if they are not known.

    Returns:
        The preprocessing, and a sentence for each option that is not as in the training.

    Raises:
        ValueError: if an option is invalid, or "auto" where the training is not known.
    """
    given = {name: value for name, value in options.items() if value != AUTO}
    if trained is None:
        missing = [name for name, value in options.items() if value == AUTO]
        if missing:
            raise ValueError(
                "`preprocessing` should say how images become the input of this network, whose "
                f"file does not; {missing} are open. Choose preprocessing=imagenet or "
                "preprocessing=market, and change what differs, as in preprocessing.size=[256,128]"
            )
        return Preprocessing(**given), []
    known = trained.to_dict()
    chosen = Preprocessing(**known | given)
    differences = [
        f"{name} {value} instead of {known[name]}"
        for name, value in chosen.to_dict().items()
        if value != known[name]
    ]
    return chosen, differences


def _check(given: Preprocessing) -> None:
    if not _are(int, given.size, 2) or min(given.size) < 1:
        raise ValueError(f"`size` should be a height and a width in pixels, got {given.size}")
    for name, value in (("mean", given.mean), ("std", given.std)):
        if value is not None and not _are((int, float), value, 3):
            raise ValueError(f"`{name}` should be three numbers, one for a channel, got {value}")
    if (given.mean is None) != (given.std is None):
        raise ValueError(f"`mean` and `std` should go together, got {given.mean} and {given.std}")
    if given.std is not None and min(given.std) <= 0:
        raise ValueError(f"`std` should be positive, got {given.std}")
    for name, kind in (("interpolation", Interpolation), ("resize", Resize)):
        if getattr(given, name) not in get_args(kind):
            raise ValueError(
                f"`{name}` should be one of {get_args(kind)}, got {getattr(given, name)!r}"
            )
    if not isinstance(given.antialias, bool):
        raise ValueError(f"`antialias` should be true or false, got {given.antialias!r}")
    if not _are((int, float), (given.crop_fraction,), 1) or not 0 < given.crop_fraction <= 1:
        raise ValueError(f"`crop_fraction` should be in (0, 1], got {given.crop_fraction!r}")


def _are(kind: type | tuple[type, ...], values: Any, count: int) -> bool:
    return (
        isinstance(values, tuple)
        and len(values) == count
        and all(isinstance(value, kind) and not isinstance(value, bool) for value in values)
    )
