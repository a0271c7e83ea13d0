from pathlib import Path

import pytest

from src.datamodules.components.image_listing import list_images
from tests.conftest import QUERY, REFERENCE, TRAIN, VAL, make_prepared, save_image


@pytest.mark.parametrize("set_name", ["reference", "query"])
def test_both_layouts_give_the_same_sets(
    set_name: str, prepared_data: Path, official_data: Path
) -> None:
    prepared = list_images(prepared_data, set_name)
    official = list_images(official_data, set_name)
    assert [(i.identity, i.camera, i.path.name) for i in prepared] == [
        (i.identity, i.camera, i.path.name) for i in official
    ]


@pytest.mark.parametrize(
    ("set_name", "people"),
    [("reference", REFERENCE), ("query", QUERY), ("train", TRAIN), ("val", VAL)],
)
def test_prepared_layout(set_name: str, people: dict[str, list[int]], prepared_data: Path) -> None:
    images = list_images(prepared_data, set_name)
    assert [(i.identity, i.camera) for i in images] == sorted(
        (identity, camera) for identity, cameras in people.items() for camera in cameras
    )
    assert images == sorted(images)


def test_official_val_is_the_first_image_of_every_train_identity(official_data: Path) -> None:
    val, train = list_images(official_data, "val"), list_images(official_data, "train")
    assert [(i.identity, i.camera) for i in val] == [(n, TRAIN[n][0]) for n in sorted(TRAIN)]
    assert len(train) == sum(map(len, TRAIN.values())) - len(TRAIN)
    assert not set(val).intersection(train)


def test_names_without_a_camera_and_other_files(tmp_path: Path) -> None:
    for name in ("b.PNG", "a.jpeg", ".hidden.jpg"):
        save_image(tmp_path / "reference" / "anna" / name.replace("PNG", "png"), name)
    (tmp_path / "reference" / "anna" / "notes.txt").write_text("no image")
    (tmp_path / "reference" / ".cache").mkdir()
    images = list_images(tmp_path, "reference")
    assert [(i.path.name, i.identity, i.camera) for i in images] == [
        ("a.jpeg", "anna", -1),
        ("b.png", "anna", -1),
    ]


def test_a_folder_0000_is_a_person_unless_the_file_names_say_distractor(tmp_path: Path) -> None:
    save_image(tmp_path / "reference" / "0000" / "photo.jpg", 1)
    save_image(tmp_path / "reference" / "0000" / "0000_c1s1_000151_01.jpg", 2)
    save_image(tmp_path / "reference" / "-1" / "-1_c1s1_000151_01.jpg", 3)
    assert [i.path.name for i in list_images(tmp_path, "reference")] == ["photo.jpg"]


def test_no_data(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=rf"No Market-1501 data in {tmp_path}"):
        list_images(tmp_path, "query")


def test_a_missing_set(tmp_path: Path) -> None:
    make_prepared(tmp_path, reference=REFERENCE)
    with pytest.raises(FileNotFoundError, match=rf"No folder {tmp_path / 'query'}"):
        list_images(tmp_path, "query")


def test_an_empty_set(tmp_path: Path) -> None:
    make_prepared(tmp_path, reference=REFERENCE)
    (tmp_path / "query" / "0001").mkdir(parents=True)
    with pytest.raises(ValueError, match=r"should hold images of the set `query`, found none"):
        list_images(tmp_path, "query")


def test_both_layouts_at_once(tmp_path: Path) -> None:
    (tmp_path / "reference").mkdir()
    (tmp_path / "bounding_box_test").mkdir()
    with pytest.raises(ValueError, match=r"should be in one layout, but has both"):
        list_images(tmp_path, "query")


def test_a_foreign_name_in_the_official_layout(tmp_path: Path) -> None:
    save_image(tmp_path / "bounding_box_test" / "holiday.jpg", 1)
    with pytest.raises(ValueError, match=r"holiday.jpg should be named like 0001_c1s1_001051_00"):
        list_images(tmp_path, "reference")


def test_distractors_stay_where_they_are_asked_for(official_data: Path) -> None:
    kept = list_images(official_data, "reference", distractors=True)
    without = list_images(official_data, "reference")
    assert [image for image in kept if image.identity != "0000"] == without
    assert len(kept) == len(without) + 2
    assert list_images(official_data, "query", distractors=True) == list_images(
        official_data, "query"
    )


def test_distractors_that_are_not_there(prepared_data: Path) -> None:
    with pytest.raises(ValueError, match=r"should hold distractors .* in `reference`, found none"):
        list_images(prepared_data, "reference", distractors=True)
