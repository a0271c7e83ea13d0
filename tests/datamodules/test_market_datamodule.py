import os
import shutil
import warnings
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image
from pytorch_lightning import Trainer
from torchvision.transforms.functional import pil_to_tensor, to_tensor

from src.datamodules.market_datamodule import MarketDataModule
from src.preprocessing import Preprocessing
from tests.conftest import QUERY, REFERENCE, TRAIN, make_prepared, save_image


def set_up(data_dir: Path, stage: str = "test", **options: Any) -> MarketDataModule:
    datamodule = MarketDataModule(data_dir, **options)
    datamodule.setup(stage)
    return datamodule


def test_one_mapping_serves_both_test_sets(prepared_data: Path) -> None:
    datamodule = set_up(prepared_data)
    reference, query = datamodule.test_dataloader()
    names = sorted({*REFERENCE, *QUERY})
    for loader, people in ((reference, REFERENCE), (query, QUERY)):
        labels = torch.cat([batch.label for batch in loader]).tolist()
        assert labels == [names.index(n) for n in sorted(people) for _ in people[n]]


def test_test_batches(prepared_data: Path) -> None:
    datamodule = set_up(prepared_data, batch_size=3)
    batches = list(datamodule.test_dataloader()[0])
    assert [len(batch.index) for batch in batches] == [3, 3, 3]
    assert torch.cat([batch.index for batch in batches]).tolist() == list(range(9))
    known = sorted(
        {camera for people in (REFERENCE, QUERY) for c in people.values() for camera in c}
    )
    cameras = [known.index(c) for name in sorted(REFERENCE) for c in sorted(REFERENCE[name])]
    assert torch.cat([batch.camera for batch in batches]).tolist() == cameras
    assert batches[0].image.shape == (3, 3, 128, 64)
    assert batches[0].image.dtype == torch.uint8
    path = datamodule.reference_set.images[2].path
    assert torch.equal(batches[0].image[2], pil_to_tensor(Image.open(path)))
    prepared = datamodule.on_after_batch_transfer(batches[0], 0)
    assert torch.equal(prepared.image[2], to_tensor(Image.open(path)))


def test_train_classes_are_positions_among_train_identities(prepared_data: Path) -> None:
    datamodule = set_up(prepared_data, "fit")
    names = sorted(TRAIN)
    assert datamodule.num_classes == len(names)
    for image_set in (datamodule.train_set, datamodule.val_set):
        for position, image in enumerate(image_set.images):
            assert image_set[position].label == names.index(image.identity)
    assert next(iter(datamodule.train_dataloader())).image.shape[1:] == (3, 128, 64)


def test_val_identities_that_train_lacks_get_further_integers(tmp_path: Path) -> None:
    make_prepared(tmp_path, reference=REFERENCE, train=TRAIN, val={"0001": [1], "0004": [1]})
    datamodule = set_up(tmp_path, "fit")
    assert [datamodule.val_set[i].label for i in range(2)] == [3, 1]


@pytest.mark.parametrize(("stage", "workers"), [("fit", 1), ("test", 3)])
def test_workers_give_the_same_batches(prepared_data: Path, stage: str, workers: int) -> None:
    def columns(num_workers: int) -> list[torch.Tensor]:
        datamodule = set_up(prepared_data, stage, batch_size=2, num_workers=num_workers)
        is_test = stage == "test"
        loader = datamodule.test_dataloader()[0] if is_test else datamodule.train_dataloader()
        return [torch.cat(column) for column in zip(*loader, strict=True)]

    for alone, helped in zip(columns(0), columns(workers), strict=True):
        assert torch.equal(alone, helped)


def test_a_file_that_changes_while_it_is_evaluated(tmp_path: Path) -> None:
    make_prepared(tmp_path, reference=REFERENCE, query=QUERY)
    datamodule = set_up(tmp_path)
    datamodule.trainer = Trainer(logger=False, accelerator="cpu")
    datamodule.setup("test")
    path = datamodule.query_set.images[2].path
    save_image(path, "another image")
    with pytest.raises(ValueError, match=rf"Cannot read the image {path}: it has changed since"):
        list(datamodule.test_dataloader()[1])


@pytest.mark.parametrize(
    ("option", "value", "message"),
    [
        (
            "batch_size",
            None,
            "`datamodule.batch_size` should be auto or an integer of at least 1, ",
        ),
        ("batch_size", 0, "at least 1, got 0"),
        ("num_workers", "abc", "`datamodule.num_workers` should be auto or an integer of at least"),
        ("num_workers", -1, "at least 0, got -1"),
        ("num_workers", True, "at least 0, got True"),
    ],
)
def test_invalid_options(option: str, value: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        MarketDataModule("data", **{option: value})


@pytest.mark.parametrize(
    ("cores", "devices", "expected"), [(2, 1, 2), (16, 1, 8), (16, 4, 4), (2, 4, 1)]
)
def test_workers_for_the_cores(
    monkeypatch: pytest.MonkeyPatch, prepared_data: Path, cores: int, devices: int, expected: int
) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: range(cores))
    datamodule = MarketDataModule(prepared_data)
    datamodule.trainer = Trainer(logger=False, accelerator="cpu", devices=devices)
    assert datamodule.workers == expected
    datamodule.setup("fit")
    loader = datamodule.val_dataloader()
    assert (loader.num_workers, loader.batch_size, loader.pin_memory) == (0, 32, False)


def test_workers_where_the_system_does_not_say_which_cores(
    monkeypatch: pytest.MonkeyPatch, prepared_data: Path
) -> None:
    monkeypatch.delattr(os, "sched_getaffinity")  # as on macOS
    monkeypatch.setattr(os, "cpu_count", lambda: 5)
    assert MarketDataModule(prepared_data).workers == 5


@pytest.mark.parametrize(
    ("size", "expected"), [((128, 64), 64), ((64, 64), 64), ((256, 128), 16), ((2000, 1000), 4)]
)
def test_batches_of_large_images_are_smaller(size: tuple[int, int], expected: int) -> None:
    datamodule = MarketDataModule("data")
    datamodule.preprocessing = Preprocessing(size)
    assert datamodule.test_batch_size == expected


def test_other_sizes_and_modes_are_converted_with_one_warning(tmp_path: Path) -> None:
    make_prepared(tmp_path, reference=REFERENCE, query=QUERY)
    save_image(tmp_path / "query" / "0005" / "wide.jpg", 1, size=(100, 50))
    save_image(tmp_path / "query" / "0005" / "small.jpg", 2, size=(32, 64))
    Image.new("L", (64, 128), 77).save(tmp_path / "query" / "0005" / "grey.png")
    Image.new("RGBA", (64, 128)).save(tmp_path / "query" / "0005" / "clear.png")
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        datamodule = set_up(tmp_path)
    assert [str(w.message) for w in caught] == [
        "2 of 18 images are not 128 x 64 pixels (height x width) and are resized."
    ]
    assert next(iter(datamodule.test_dataloader()[1])).image.shape == (9, 3, 128, 64)


def test_digest_is_of_the_data_alone(
    prepared_data: Path, official_data: Path, tmp_path: Path
) -> None:
    digest = set_up(prepared_data).inspection.digest
    assert set_up(official_data).inspection.digest == digest
    copy = shutil.copytree(prepared_data, tmp_path / "copy")
    assert set_up(copy).inspection.digest == digest
    image = next((copy / "query").rglob("*.jpg"))
    image.write_bytes(image.read_bytes() + b"\0")
    assert set_up(copy).inspection.digest != digest


def test_unreadable_files_are_named_before_the_work_starts(tmp_path: Path) -> None:
    make_prepared(tmp_path, reference=REFERENCE, query=QUERY)
    broken = tmp_path / "query" / "0005" / "broken.jpg"
    broken.write_bytes(b"not an image")
    message = rf"1 of 15 files cannot be read .*\n.*{broken}: not in the format of an image"
    with pytest.raises(ValueError, match=message):
        set_up(tmp_path)


@pytest.mark.parametrize("num_workers", [0, 1])
def test_a_truncated_image_is_named(tmp_path: Path, num_workers: int) -> None:
    make_prepared(tmp_path, reference=REFERENCE, query=QUERY)
    truncated = next((tmp_path / "query" / "0011").iterdir())
    truncated.write_bytes(truncated.read_bytes()[:-300])
    datamodule = set_up(tmp_path, num_workers=num_workers)
    with pytest.raises(ValueError, match=rf"Cannot read the image {truncated}"):
        list(datamodule.test_dataloader()[1])
