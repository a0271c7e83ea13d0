"""What is done to an image before a network sees it."""

import hashlib
import json
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from typing import Any, Literal, get_args

import torch
from torch import Tensor
from torchvision import transforms
from torchvision.transforms import InterpolationMode
from torchvision.transforms import functional as F  # noqa: N812

Interpolation = Literal["bilinear", "bicubic"]
Resize = Literal["stretch", "crop"]

AUTO: Literal["auto"] = "auto"
"""The value of an option that is left to the network."""


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

    def fit(self, pixels: Tensor) -> Tensor:
        """Resize an RGB image, uint8 [3, H, W], to `size`."""
        if self.resize == "stretch":
            return self._stretch(pixels, self.size)
        height, width = (int(side / self.crop_fraction) for side in self.size)
        if height * pixels.shape[2] >= width * pixels.shape[1]:
            width = height * pixels.shape[2] // pixels.shape[1]
        else:
            height = width * pixels.shape[1] // pixels.shape[2]
        cropped: Tensor = F.center_crop(self._stretch(pixels, (height, width)), list(self.size))
        return cropped

    def augmented(self) -> Callable[[Tensor], Tensor]:
        """Return the transform of training images, which are shifted and mirrored at random."""
        shift = transforms.Pad(15), transforms.RandomCrop(self.size)
        steps = self.fit, *shift, transforms.RandomHorizontalFlip()
        augmented: Callable[[Tensor], Tensor] = transforms.Compose(steps)
        return augmented

    def normalise(self, pixels: Tensor) -> Tensor:
        """Turn images of the right size, uint8 [B, 3, H, W], into float32 for the network."""
        values = pixels.to(torch.float32).div_(255)
        if self.mean is None:
            return values
        normalised: Tensor = F.normalize(values, self.mean, self.std, inplace=True)
        return normalised

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
        size = "{} x {}".format(*self.size)
        crop = f", centre crop of {self.crop_fraction:g}" if self.resize == "crop" else ""
        smooth = "" if self.antialias else " without antialiasing"
        scale = "not normalised" if self.mean is None else f"mean {self.mean}, std {self.std}"
        return f"{size}, {self.interpolation}{smooth}{crop}, {scale}"

    def _stretch(self, pixels: Tensor, size: tuple[int, int]) -> Tensor:
        if pixels.shape[1:] == size:
            return pixels
        # Pillow's resizing always smooths, torch's only if it is told to, and with other rounding.
        image = F.to_pil_image(pixels) if self.antialias else pixels
        mode = InterpolationMode(self.interpolation)
        resized = F.resize(image, list(size), mode, antialias=self.antialias)
        stretched: Tensor = F.pil_to_tensor(resized) if self.antialias else resized
        return stretched


def choose_preprocessing(
    options: Mapping[str, Any], trained: Preprocessing | None
) -> tuple[Preprocessing, list[str]]:
    """Complete options with those that the network was trained with.

    Args:
        options: for `Preprocessing`; "auto" stands for the value of the training.
        trained: the values of the training; None if they are not known: then the defaults serve.

    Returns:
        The preprocessing, and what a user should be told of it, a sentence each.

    Raises:
        ValueError: if an option is invalid.
    """
    given = {name: value for name, value in options.items() if value != AUTO}
    if trained is None:
        chosen = Preprocessing(**given)
        assumed = [f"{n} {v}" for n, v in chosen.to_dict().items() if n not in given]
        return chosen, assumed and [
            "The network does not say how images become its input; assumed, as for Market-1501: "
            f"{'; '.join(assumed)}. Set preprocessing=... if that is wrong."
        ]
    known = trained.to_dict()
    chosen = Preprocessing(**known | given)
    differences = [
        f"{name} {value} instead of {known[name]}"
        for name, value in chosen.to_dict().items()
        if value != known[name]
    ]
    return chosen, differences and [
        f"Images are prepared otherwise than in the network's training: {'; '.join(differences)}"
    ]


def _check(given: Preprocessing) -> None:
    if not _are_numbers(given.size, 2, int) or min(given.size) < 1:
        raise ValueError(f"`size` should be a height and a width in pixels, got {given.size}")
    for name, value in (("mean", given.mean), ("std", given.std)):
        if value is not None and not _are_numbers(value, 3, int | float):
            raise ValueError(f"`{name}` should be three numbers, one for a channel, got {value}")
    if (given.mean is None) != (given.std is None) or (given.std and min(given.std) <= 0):
        raise ValueError(
            f"`mean` and a positive `std` should go together, got {given.mean} and {given.std}"
        )
    choices = {"antialias": (True, False), "interpolation": get_args(Interpolation)}
    for name, allowed in {**choices, "resize": get_args(Resize)}.items():
        if getattr(given, name) not in allowed:
            raise ValueError(f"`{name}` should be one of {allowed}, got {getattr(given, name)!r}")
    if not _are_numbers((given.crop_fraction,), 1, int | float) or not 0 < given.crop_fraction <= 1:
        raise ValueError(f"`crop_fraction` should be in (0, 1], got {given.crop_fraction!r}")


def _are_numbers(values: Any, count: int, kind: Any) -> bool:
    return (
        isinstance(values, tuple)
        and len(values) == count
        and all(isinstance(value, kind) and not isinstance(value, bool) for value in values)
    )
