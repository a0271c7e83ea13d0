"""Read image files: the one place that knows their formats."""

import hashlib
import io
import os
import stat
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
import torch
from PIL import ExifTags, Image, ImageOps, UnidentifiedImageError
from torch import Tensor
from torchvision.transforms.functional import pil_to_tensor

_FAST_DECODERS: dict[tuple[str, str], Callable[..., Tensor]] = {}
try:
    from torchvision.io import ImageReadMode, decode_jpeg, decode_webp
except ImportError:  # later versions of torchvision will lack them
    pass
else:
    # Bit for bit Pillow's pixels, in half the time. The decoder of PNG crashes on damaged files.
    for _format, _mode in (("JPEG", "RGB"), ("JPEG", "L"), ("WEBP", "RGB")):
        _decoder = decode_jpeg if _format == "JPEG" else decode_webp
        _FAST_DECODERS[_format, _mode] = partial(_decoder, mode=ImageReadMode.RGB)
_SIDEWAYS = (5, 6, 7, 8)
_BACKGROUND = "white"


def read_file(path: str | Path) -> bytes:
    """Read a file that is no directory, pipe or device.

    Raises:
        OSError: if it is one, or cannot be read.
    """
    with open(os.open(path, os.O_RDONLY | os.O_NONBLOCK), "rb") as file:
        if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
            raise OSError("not a regular file")
        return file.read()


def digest_of(content: bytes) -> bytes:
    """Return the SHA-256 of a file's content."""
    return hashlib.sha256(content).digest()


def displayed_size(content: bytes) -> tuple[int, int]:
    """Return width and height of an image as it is displayed, without decoding its pixels.

    Raises:
        ValueError: if it is no image, or one that `decode` refuses because of its kind.
    """
    with _open(content) as image:
        return image.size[::-1] if _orientation(image) in _SIDEWAYS else image.size


def decode(content: bytes) -> Tensor:
    """Decode an image as it is displayed.

    Of channels with 16 bits the upper 8 count. Transparent pixels are laid over white. An
    orientation in EXIF is applied; colour profiles are not.

    Returns:
        RGB, uint8 [3, H, W]. The channels of a pixel lie next to each other in memory.

    Raises:
        ValueError: if it cannot be decoded, has other channels, or more pixels than Pillow allows.
    """
    with _open(content) as image:
        fast = _FAST_DECODERS.get((image.format or "", image.mode))
        if fast is not None and _orientation(image) == 1:
            try:
                encoded = torch.frombuffer(bytearray(content), dtype=torch.uint8)
                return fast(encoded)
            except RuntimeError:
                pass  # Pillow knows more variants, and has better messages
        try:
            image.load()
        except (OSError, SyntaxError) as error:
            raise ValueError(str(error)) from error
        upright = image if _orientation(image) == 1 else ImageOps.exif_transpose(image)
        pixels: Tensor = pil_to_tensor(_to_rgb(upright))
        return pixels


def _open(content: bytes) -> Image.Image:
    try:
        image = Image.open(io.BytesIO(content))
    except UnidentifiedImageError as error:
        raise ValueError("not in the format of an image") from error
    except (OSError, SyntaxError, Image.DecompressionBombError) as error:
        raise ValueError(str(error)) from error
    if image.mode in ("I", "F"):
        raise ValueError(f"its channels should have 8 or 16 bits, got Pillow's mode {image.mode}")
    return image


def _orientation(image: Image.Image) -> int:
    """Return what EXIF says, 1 where it says nothing that makes sense."""
    if image.format == "TIFF":
        return 1  # Pillow itself turns such images
    if image.format == "PNG" and "exif" not in image.info:
        return 1  # Pillow would decode the pixels to look behind them
    try:
        orientation = image.getexif().get(ExifTags.Base.Orientation)
    except Exception:  # a damaged one can make Pillow stumble anywhere
        return 1
    return orientation if isinstance(orientation, int) and 1 < orientation <= 8 else 1


def _to_rgb(image: Image.Image) -> Image.Image:
    if image.mode.startswith("I;16"):
        return Image.fromarray((np.asarray(image) >> 8).astype(np.uint8)).convert("RGB")
    if not image.has_transparency_data:
        return image.convert("RGB")
    background = Image.new("RGBA", image.size, _BACKGROUND)
    return Image.alpha_composite(background, image.convert("RGBA")).convert("RGB")
