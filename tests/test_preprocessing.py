"""What is done to an image before a network sees it."""

import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor
from torchvision import transforms
from torchvision.transforms import InterpolationMode
from torchvision.transforms.functional import pil_to_tensor

from src.preprocessing import Preprocessing, choose_preprocessing
from src.utils.checkpoint import read_checkpoint
from tests.conftest import save_checkpoint

MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
AUTO = dict.fromkeys(Preprocessing().to_dict(), "auto")


def image(width: int, height: int) -> Image.Image:
    pixels = np.random.default_rng(0).integers(0, 256, (height, width, 3), dtype=np.uint8)
    return Image.fromarray(pixels)


def prepared(prepare: Preprocessing, image: Image.Image) -> Tensor:
    return prepare.normalise(prepare.fit(pil_to_tensor(image))[None])[0]


@pytest.mark.parametrize("size", [(64, 128), (50, 100), (200, 333)])
def test_the_default_is_what_the_assignment_has(size: tuple[int, int]) -> None:
    oracle = transforms.Compose([transforms.Resize((128, 64)), transforms.ToTensor()])
    assert torch.equal(prepared(Preprocessing(), image(*size)), oracle(image(*size)))


@pytest.mark.parametrize("interpolation", ["bilinear", "bicubic"])
@pytest.mark.parametrize("size", [(64, 128), (300, 200), (333, 500)])
def test_stretched_and_normalised(size: tuple[int, int], interpolation: Any) -> None:
    oracle = transforms.Compose(
        [
            transforms.Resize((96, 80), InterpolationMode(interpolation)),
            transforms.ToTensor(),
            transforms.Normalize(MEAN, STD),
        ]
    )
    prepare = Preprocessing((96, 80), MEAN, STD, interpolation)
    assert torch.equal(prepared(prepare, image(*size)), oracle(image(*size)))


@pytest.mark.parametrize("size", [(64, 128), (300, 200), (333, 500), (224, 224)])
@pytest.mark.parametrize("fraction", [0.875, 0.9, 1.0])
def test_cropped_as_timm_does_it(size: tuple[int, int], fraction: float) -> None:
    data = pytest.importorskip("timm.data", reason="the extra timm is not installed")
    options = {"interpolation": "bicubic", "mean": MEAN, "std": STD, "crop_pct": fraction}
    oracle = data.create_transform(input_size=(3, 224, 224), crop_mode="center", **options)
    prepare = Preprocessing((224, 224), MEAN, STD, "bicubic", resize="crop", crop_fraction=fraction)
    assert torch.equal(prepared(prepare, image(*size)), oracle(image(*size)))


@pytest.mark.parametrize("size", [(64, 128), (300, 200), (333, 500)])
def test_a_crop_keeps_proportions_and_the_centre(size: tuple[int, int]) -> None:
    """A disc in the middle stays a disc in the middle."""
    width, height = size
    y, x = np.mgrid[:height, :width]
    inside = np.hypot(y - (height - 1) / 2, x - (width - 1) / 2) < 20
    disc = Image.fromarray(np.repeat(inside[..., None] * np.uint8(255), 3, axis=2))
    prepare = Preprocessing((120, 80), resize="crop", crop_fraction=0.8)
    grey = prepared(prepare, disc)[0]
    assert grey.shape == (120, 80)
    rows, columns = (grey.sum(dim) for dim in (1, 0))
    scale = max(150 / height, 100 / width)
    assert (rows > 0.5).sum() == pytest.approx(40 * scale, abs=2)
    assert (columns > 0.5).sum() == pytest.approx(40 * scale, abs=2)
    for sums in (rows, columns):
        centre = (sums * torch.arange(len(sums))).sum() / sums.sum()
        assert centre.item() == pytest.approx((len(sums) - 1) / 2, abs=0.6)  # of odd differences


def test_without_antialiasing_each_pixel_comes_from_its_four_neighbours() -> None:
    """At a third of the size, the centre of a pixel is that of the middle one of nine."""
    pixels = torch.from_numpy(np.array(image(90, 60))).permute(2, 0, 1) / 255
    found = prepared(Preprocessing((20, 30), antialias=False), image(90, 60))
    assert torch.equal(found, pixels[:, 1::3, 1::3])
    assert not torch.equal(found, prepared(Preprocessing((20, 30)), image(90, 60)))


@pytest.mark.parametrize("antialias", [True, False])
def test_training_images(antialias: bool) -> None:
    prepare = Preprocessing((96, 80), MEAN, STD, antialias=antialias)
    augment, pixels = prepare.augmented(), pil_to_tensor(image(80, 96))
    torch.manual_seed(0)
    draws = torch.stack([augment(pixels) for _ in range(20)])
    assert draws.shape == (20, 3, 96, 80)
    assert len({draw.sum().item() for draw in draws}) == 20
    assert (draws == 0).all(1).any()
    again = pickle.loads(pickle.dumps(augment))
    torch.manual_seed(0)
    assert torch.equal(again(pixels), draws[0])


def test_the_default_augmentation_is_unchanged() -> None:
    oracle = transforms.Compose(
        [
            transforms.Resize((128, 64)),
            transforms.Pad(15),
            transforms.RandomCrop((128, 64)),
            transforms.RandomHorizontalFlip(),
            transforms.ToTensor(),
        ]
    )
    augment = Preprocessing().augmented()
    for seed in range(5):
        torch.manual_seed(seed)
        expected = oracle(image(64, 128))
        torch.manual_seed(seed)
        drawn = Preprocessing().normalise(augment(pil_to_tensor(image(64, 128))))
        assert torch.equal(drawn, expected)


def test_the_digest_tells_each_value_apart() -> None:
    changes: list[dict[str, Any]] = [
        {"size": (64, 128)},
        {"mean": MEAN, "std": STD},
        {"interpolation": "bicubic"},
        {"antialias": False},
        {"resize": "crop"},
        {"crop_fraction": 0.5},
    ]
    digests = {Preprocessing(**change).sha256 for change in [{}, *changes]}
    assert len(digests) == 7
    assert Preprocessing(size=[128, 64]).sha256 == Preprocessing().sha256  # type: ignore[arg-type]
    assert Preprocessing(**Preprocessing(mean=MEAN, std=STD).to_dict()).mean == MEAN


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"size": [128]}, r"`size` should be a height and a width in pixels, got \(128,\)"),
        ({"size": [128, 0]}, r"`size` should be a height and a width in pixels"),
        ({"size": "large"}, r"`size` should be a height and a width in pixels, got large"),
        ({"mean": [0.5], "std": [0.5]}, r"`mean` should be three numbers, one for a channel"),
        ({"mean": MEAN}, r"`mean` and a positive `std` should go together"),
        ({"mean": MEAN, "std": (1, 0, 1)}, r"`std` should go together, got .* and \(1, 0, 1\)"),
        ({"interpolation": "nearest"}, r"`interpolation` should be one of .* got 'nearest'"),
        ({"resize": "pad"}, r"`resize` should be one of .* got 'pad'"),
        ({"antialias": "yes"}, r"`antialias` should be one of \(True, False\), got 'yes'"),
        ({"crop_fraction": 0}, r"`crop_fraction` should be in \(0, 1\], got 0"),
        ({"crop_fraction": "all"}, r"`crop_fraction` should be in \(0, 1\], got 'all'"),
    ],
)
def test_invalid_values(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Preprocessing(**options)


def test_options_that_are_left_to_the_network() -> None:
    trained = Preprocessing((96, 80), MEAN, STD)
    assert choose_preprocessing(AUTO, trained) == (trained, [])
    chosen, differences = choose_preprocessing({**AUTO, "size": [64, 64], "mean": MEAN}, trained)
    assert chosen == Preprocessing((64, 64), MEAN, STD)
    assert [each.partition(": ")[2] for each in differences] == [
        "size [64, 64] instead of [96, 80]"
    ]


def test_options_of_a_network_that_says_nothing() -> None:
    everything = Preprocessing((96, 80), MEAN, STD)
    assert choose_preprocessing(everything.to_dict(), None) == (everything, [])
    chosen, (remark,) = choose_preprocessing({**everything.to_dict(), "size": "auto"}, None)
    assert chosen == Preprocessing((128, 64), MEAN, STD)
    assert "as for Market-1501: size [128, 64]. Set" in remark


def test_a_checkpoint_with_an_invalid_preprocessing(tmp_path: Path) -> None:
    path = save_checkpoint(tmp_path / "odd.ckpt", preprocessing={"size": 7})
    with pytest.raises(ValueError, match=r"`preprocessing` in .*odd.ckpt is invalid: `size`"):
        _ = read_checkpoint(path).preprocessing
