import shutil
from pathlib import Path

import pytest

from src.datamodules.components.image_listing import NOT_IMAGES, list_images
from tests.conftest import QUERY, REFERENCE, TRAIN, VAL, make_prepared, save_image


@pytest.mark.parametrize("set_name", ["reference", "query"])
def test_both_layouts_give_the_same_sets(
    set_name: str, prepared_data: Path, official_data: Path
) -> None:
    prepared = list_images(prepared_data, set_name).images
    official = list_images(official_data, set_name).images
    assert [(i.identity, i.camera, i.path.name) for i in prepared] == [
        (i.identity, i.camera, i.path.name) for i in official
    ]


@pytest.mark.parametrize(
    ("set_name", "people"),
    [("reference", REFERENCE), ("query", QUERY), ("train", TRAIN), ("val", VAL)],
)
def test_prepared_layout(set_name: str, people: dict[str, list[int]], prepared_data: Path) -> None:
    images = list_images(prepared_data, set_name).images
    assert [(i.identity, i.camera) for i in images] == sorted(flatten(people))
    assert images == sorted(images)


def test_official_val_is_the_first_image_of_every_train_identity(official_data: Path) -> None:
    val, train = (
        list_images(official_data, "val").images,
        list_images(official_data, "train").images,
    )
    assert [(i.identity, i.camera) for i in val] == [(n, str(TRAIN[n][0])) for n in sorted(TRAIN)]
    assert len(train) == sum(map(len, TRAIN.values())) - len(TRAIN)
    assert not set(val).intersection(train)


def test_names_without_a_camera_and_all_endings(tmp_path: Path) -> None:
    names = ["a.jpeg", "b.PNG", "c.jpg", "d.bmp", "e.webp", "f.TIF", "g.tiff", "h.jfif"]
    for name in [*names, ".hidden.jpg"]:
        save_image(tmp_path / "reference" / "anna" / name, name)
    (tmp_path / "reference" / ".cache").mkdir()
    images, left_out = list_images(tmp_path, "reference")
    assert [(i.path.name, i.identity, i.camera) for i in images] == [
        (name, "anna", None) for name in names
    ]
    hidden = [tmp_path / "reference" / ".cache", tmp_path / "reference" / "anna" / ".hidden.jpg"]
    assert left_out == {"hidden files and folders": hidden}


def test_what_is_not_read_is_listed(prepared_data: Path, official_data: Path) -> None:
    for root, folder in ((prepared_data, "query"), (official_data, "query")):
        copy = shutil.copytree(root, root.with_name(f"{root.name}_others"))
        inner = next(path for path in (copy / folder).iterdir())
        expected = [copy / folder / "notes.txt"]
        if inner.is_dir():
            expected += [inner / "image.gif", inner / "more"]
        else:
            expected += [copy / folder / "more"]
        for path in expected:
            path.mkdir() if path.suffix == "" else path.write_bytes(b"something else")
        images, left_out = list_images(copy, "query")
        assert left_out == {NOT_IMAGES: sorted(expected)}
        assert len(images) == len(list_images(root, "query").images)


def test_an_image_without_an_identity(tmp_path: Path) -> None:
    make_prepared(tmp_path, reference=REFERENCE)
    save_image(tmp_path / "reference" / "loose.jpg", 1)
    with pytest.raises(ValueError, match=r"loose.jpg should be in a folder that is named after"):
        list_images(tmp_path, "reference")


@pytest.mark.parametrize("place", ["reference/0099", "reference/0005/photo.jpg"])
def test_a_broken_link(tmp_path: Path, place: str) -> None:
    make_prepared(tmp_path, reference=REFERENCE)
    (tmp_path / place).symlink_to(tmp_path / "nowhere")
    with pytest.raises(ValueError, match=rf"{place} should be a file or a folder, is its"):
        list_images(tmp_path, "reference")


def flatten(people: dict[str, list[int]]) -> list[tuple[str, str]]:
    return [(identity, str(camera)) for identity, cameras in people.items() for camera in cameras]


SETS = ("train", "val", "reference", "query")
BOXES = {"bounding_box_train": "train", "bounding_box_test": "reference", "query": "query"}
VEHICLES = {"image_train": "train", "image_test": "reference", "image_query": "query"}


@pytest.mark.parametrize(
    ("form", "folders"),
    [
        ("{i}_c{c}s1_{n:06d}_01.jpg", BOXES),
        ("{i}_c{c}_f{n:07d}.jpg", BOXES),
        ("{i}_c{c}_{n}.png", BOXES),
        ("{i}_c{c:03d}_{n:08d}_0.jpg", VEHICLES),
    ],
    ids=["Market-1501", "DukeMTMC-reID", "CUHK03", "VeRi-776"],
)
def test_layouts_with_identities_in_names(
    tmp_path: Path, form: str, folders: dict[str, str]
) -> None:
    people = {"train": TRAIN, "reference": REFERENCE, "query": QUERY}
    for folder, name in folders.items():
        for identity, cameras in people[name].items():
            for number, camera in enumerate(cameras):
                file_name = form.format(i=identity, c=camera, n=number)
                save_image(tmp_path / folder / file_name, (name, identity, number))
    for name in ("reference", "query"):
        images = list_images(tmp_path, name).images
        assert sorted((i.identity, i.camera) for i in images) == sorted(flatten(people[name]))
    assert [i.identity for i in list_images(tmp_path, "val").images] == sorted(TRAIN)
    foreign = tmp_path / next(f for f, name in folders.items() if name == "query") / "holiday.jpg"
    save_image(foreign, 1)
    with pytest.raises(ValueError, match=rf"{foreign} should be named like"):
        list_images(tmp_path, "query")


@pytest.mark.parametrize("folders", [("train", "test"), ("mask_train_v2", "mask_test_v2")])
def test_msmt17(tmp_path: Path, folders: tuple[str, str]) -> None:
    train, test = folders
    people = {
        "list_train.txt": (train, TRAIN),
        "list_val.txt": (train, VAL),
        "list_gallery.txt": (test, REFERENCE),
        "list_query.txt": (test, QUERY),
    }
    for hour, (listing, (folder, identities)) in enumerate(people.items()):
        with (tmp_path / listing).open("w") as file:
            for identity, cameras in identities.items():
                for number, camera in enumerate(cameras):
                    name = f"{identity}_{number:03d}_{camera:02d}_03{hour:02d}noon_0001_0.jpg"
                    save_image(tmp_path / folder / identity / name, name)
                    file.write(f"{identity}/{name} {int(identity)}\n")
    for name, (_, identities) in zip(SETS, people.values(), strict=True):
        images = list_images(tmp_path, name).images
        assert [(i.identity, i.camera) for i in images] == sorted(flatten(identities))
        assert all(image.path.is_file() for image in images)
    (tmp_path / "list_query.txt").unlink()
    with pytest.raises(FileNotFoundError, match=r"No .*list_query.txt, which should list images"):
        list_images(tmp_path, "query")
    (tmp_path / "list_query.txt").write_text("0005/holiday.jpg 5\n")
    with pytest.raises(ValueError, match=r"holiday.jpg should be named like 0000_000_01_0303noon"):
        list_images(tmp_path, "query")


def test_a_folder_0000_is_a_person_unless_the_file_names_say_distractor(tmp_path: Path) -> None:
    save_image(tmp_path / "reference" / "0000" / "photo.jpg", 1)
    save_image(tmp_path / "reference" / "0000" / "0000_c1s1_000151_01.jpg", 2)
    save_image(tmp_path / "reference" / "-1" / "-1_c1s1_000151_01.jpg", 3)
    images, left_out = list_images(tmp_path, "reference")
    assert [i.path.name for i in images] == ["photo.jpg"]
    assert {reason: [path.name for path in paths] for reason, paths in left_out.items()} == {
        "junk images (identity -1)": ["-1_c1s1_000151_01.jpg"],
        "distractors (identity 0000)": ["0000_c1s1_000151_01.jpg"],
    }


def test_no_data(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=rf"No data in {tmp_path}"):
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
    with pytest.raises(
        ValueError, match=r"should be in one layout, but has `bounding_box_test` and `reference`"
    ):
        list_images(tmp_path, "query")


def test_a_foreign_name_in_the_official_layout(tmp_path: Path) -> None:
    save_image(tmp_path / "bounding_box_test" / "holiday.jpg", 1)
    with pytest.raises(ValueError, match=r"holiday.jpg should be named like 0001_c1s1_001051_00"):
        list_images(tmp_path, "reference")


def test_distractors_stay_where_they_are_asked_for(official_data: Path) -> None:
    kept = list_images(official_data, "reference", distractors=True).images
    without = list_images(official_data, "reference").images
    assert [image for image in kept if image.identity != "0000"] == without
    assert len(kept) == len(without) + 2
    assert (
        list_images(official_data, "query", distractors=True).images
        == list_images(official_data, "query").images
    )


def test_distractors_that_are_not_there(prepared_data: Path) -> None:
    with pytest.raises(ValueError, match=r"should hold distractors .* in `reference`, found none"):
        list_images(prepared_data, "reference", distractors=True)
