from pathlib import Path

import pytest
from PIL import Image

from src.datamodules.sample_datamodule import SampleDataModule


def test_the_sample_is_made_at_first_use(tmp_path: Path) -> None:
    datamodule = SampleDataModule(tmp_path / "sample", identities=12)
    datamodule.setup("test")
    datamodule.setup("fit")
    assert datamodule.data_dir == tmp_path / "sample_12_0"
    assert {image.camera for image in datamodule.query_set.images} == set("123456")
    people = [
        {image.identity for image in image_set.images}
        for image_set in (datamodule.train_set, datamodule.val_set, datamodule.reference_set)
    ]
    assert sum(map(len, people)) == len(set().union(*people)) == 12
    assert datamodule.query_set.identities <= datamodule.reference_set.identities
    with Image.open(datamodule.query_set.images[0].path) as image:
        assert image.size == (64, 128)

    made = datamodule.query_set.images[0].path.stat().st_mtime_ns
    again = SampleDataModule(tmp_path / "sample", identities=12)
    again.setup("test")
    assert again.inspection == datamodule.inspection
    assert again.query_set.images[0].path.stat().st_mtime_ns == made


def test_a_folder_of_something_else(tmp_path: Path) -> None:
    (tmp_path / "sample_12_0").mkdir()
    (tmp_path / "sample_12_0" / "mine.txt").write_text("keep")
    with pytest.raises(FileExistsError, match=r"should be a sample or a new folder"):
        SampleDataModule(tmp_path / "sample", identities=12).setup("test")


def test_too_few_identities(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"`identities` should be from 12 to 9999, got 3"):
        SampleDataModule(tmp_path / "sample", identities=3).setup("test")
