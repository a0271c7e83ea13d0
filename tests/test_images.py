import io
import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from torch import Tensor

from src.images import decode, displayed_size, read_file

RANDOM = np.random.default_rng(0)
NOISE = RANDOM.integers(0, 256, (37, 21, 4), dtype=np.uint8)
SMOOTH = np.array(Image.fromarray(NOISE[:6, :4, :3]).resize((21, 37), Image.Resampling.BICUBIC))


def encode(image: Image.Image, **options: Any) -> bytes:
    file = io.BytesIO()
    image.save(file, **options)
    return file.getvalue()


def tensor(pixels: np.ndarray) -> Tensor:
    return torch.from_numpy(pixels.astype(np.uint8)).permute(2, 0, 1)


def by_pillow(content: bytes) -> Tensor:
    return tensor(np.array(Image.open(io.BytesIO(content)).convert("RGB")))


VARIANTS: list[tuple[dict[str, Any], list[str]]] = [
    ({"format": "JPEG"}, ["RGB", "L", "CMYK", "1"]),
    ({"format": "JPEG", "progressive": True, "quality": 40}, ["RGB", "L", "CMYK"]),
    ({"format": "JPEG", "subsampling": 0}, ["RGB"]),
    ({"format": "JPEG", "subsampling": 1, "restart_marker_rows": 1}, ["RGB", "L"]),
    ({"format": "PNG"}, ["RGB", "L", "1", "P"]),
    ({"format": "WEBP"}, ["RGB", "L"]),
    ({"format": "WEBP", "lossless": True}, ["RGB", "L"]),
    ({"format": "BMP"}, ["RGB", "L", "1", "P"]),
    ({"format": "TIFF"}, ["RGB", "L", "CMYK", "1", "P"]),
]


@pytest.mark.parametrize(
    ("options", "mode"), [(options, mode) for options, modes in VARIANTS for mode in modes], ids=str
)
def test_the_pixels_are_pillows(options: dict[str, Any], mode: str) -> None:
    content = encode(Image.fromarray(SMOOTH).convert(mode), **options)
    assert torch.equal(decode(content), by_pillow(content))
    assert displayed_size(content) == (21, 37)


@pytest.mark.parametrize("form", ["PNG", "TIFF"])
@pytest.mark.parametrize("dtype", ["<u2", ">u2"])
def test_16_bits_are_scaled(form: str, dtype: str) -> None:
    values = np.arange(0, 2**16, 61).reshape(25, 43)
    content = encode(Image.fromarray(values.astype(dtype)), format=form)
    assert torch.equal(decode(content), tensor(np.repeat(values[..., None] // 256, 3, 2)))


@pytest.mark.parametrize("mode", ["I", "F"])
def test_32_bits_are_refused(mode: str) -> None:
    content = encode(Image.fromarray(SMOOTH).convert(mode), format="TIFF")
    for function in (decode, displayed_size):
        with pytest.raises(
            ValueError, match=rf"should have 8 or 16 bits, got Pillow's mode {mode}"
        ):
            function(content)


@pytest.mark.parametrize(
    ("form", "mode"),
    [("PNG", "RGBA"), ("PNG", "LA"), ("WEBP", "RGBA"), ("TIFF", "RGBA"), ("TIFF", "LA")],
)
def test_transparency_is_laid_over_white(form: str, mode: str) -> None:
    image = Image.fromarray(NOISE).convert(mode)
    options = {"lossless": True, "exact": True} if form == "WEBP" else {}
    content = encode(image, format=form, **options)
    colour, alpha = NOISE[..., :3], NOISE[..., 3:] / 255
    if mode == "LA":
        colour = np.repeat(np.array(image)[..., :1], 3, 2)
    expected = colour * alpha + 255 * (1 - alpha)
    assert np.abs(decode(content).permute(1, 2, 0).numpy() - expected).max() < 1.01


def test_a_transparent_colour_is_white() -> None:
    palette = Image.new("P", (2, 1))
    palette.putpalette([10, 20, 30, 40, 50, 60])
    palette.putdata([0, 1])
    assert decode(encode(palette, format="PNG", transparency=0))[:, 0].T.tolist() == [
        [255, 255, 255],
        [40, 50, 60],
    ]
    colours = Image.fromarray(np.array([[[1, 2, 3], [4, 5, 6]]], np.uint8))
    assert decode(encode(colours, format="PNG", transparency=(4, 5, 6)))[:, 0].T.tolist() == [
        [1, 2, 3],
        [255, 255, 255],
    ]


TURNS = {
    1: lambda a: a,
    2: lambda a: a[:, ::-1],
    3: lambda a: a[::-1, ::-1],
    4: lambda a: a[::-1],
    5: lambda a: a.swapaxes(0, 1),
    6: lambda a: a.swapaxes(0, 1)[:, ::-1],
    7: lambda a: a.swapaxes(0, 1)[::-1, ::-1],
    8: lambda a: a.swapaxes(0, 1)[::-1],
}


@pytest.mark.parametrize("orientation", range(10))
@pytest.mark.parametrize("form", ["JPEG", "PNG", "WEBP", "TIFF"])
def test_images_stand_upright(form: str, orientation: int) -> None:
    exif = Image.Exif()
    exif[0x0112] = orientation
    content = encode(Image.fromarray(SMOOTH), format=form, exif=exif)
    stored = SMOOTH if form == "TIFF" else np.array(Image.open(io.BytesIO(content)))
    expected = TURNS.get(orientation, TURNS[1])(stored)
    assert torch.equal(decode(content), tensor(expected.copy()))
    assert displayed_size(content) == expected.shape[1::-1]


def test_a_damaged_orientation_is_none() -> None:
    content = encode(Image.fromarray(SMOOTH), format="JPEG", exif=b"Exif\0\0nonsense")
    assert torch.equal(decode(content), by_pillow(content))


SOURCES = [
    encode(Image.fromarray(SMOOTH), format="JPEG"),
    encode(Image.fromarray(SMOOTH), format="JPEG", progressive=True),
    encode(Image.fromarray(SMOOTH), format="WEBP"),
    encode(Image.fromarray(SMOOTH), format="PNG"),
]


@given(
    st.sampled_from(SOURCES),
    st.floats(0, 1, exclude_max=True),
    st.sampled_from(["cut", "flip", "drop"]),
    st.integers(1, 255),
)
def test_a_damaged_file_is_refused_or_as_pillow_reads_it(
    content: bytes, place: float, kind: str, amount: int
) -> None:
    at = int(place * len(content))
    if kind == "cut":
        damaged = content[:at]
    elif kind == "flip":
        damaged = content[:at] + bytes([content[at] ^ amount]) + content[at + 1 :]
    else:
        damaged = content[:at] + content[at + amount :]
    try:
        decoded = decode(damaged)
    except ValueError:
        return
    image = Image.open(io.BytesIO(damaged))
    if image.getexif() or image.has_transparency_data:  # the damage made some
        return
    assert torch.equal(decoded, by_pillow(damaged))


def test_more_pixels_than_pillow_allows(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 21 * 37 // 3)
    with pytest.raises(ValueError, match="777 pixels"):
        displayed_size(SOURCES[0])


def test_only_files_are_read(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "fifo")
    for path in (tmp_path / "fifo", Path("/dev/zero")):
        with pytest.raises(OSError, match="not a regular file"):
            read_file(path)
    with pytest.raises(OSError, match="Is a directory"):
        read_file(tmp_path)
    (tmp_path / "file").write_bytes(b"content")
    assert read_file(tmp_path / "file") == b"content"
