"""The drawn sample: what is promised about its bytes, its layout and its failures."""

import io
import re
from collections import defaultdict
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from src.datamodules.components.sample import dataset, generate_sample, list_shots, role
from src.datamodules.components.sample.dataset import MIN_IDENTITIES, RECORD, Shot, render
from src.datamodules.components.sample.paint import cloth
from src.datamodules.components.sample.person import Upper
from src.datamodules.components.sample.sheet import contact_sheet, save_contact_sheet

NAME = re.compile(r"(?P<identity>\d{4})_c(?P<camera>[1-6])s[1-6]_\d{6}_\d{2}\.jpg")
SETS = ("train", "val", "reference", "query")


@pytest.fixture(scope="module")
def sample(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The smallest sample, made by one process."""
    root = tmp_path_factory.mktemp("data") / "sample"
    generate_sample(root, identities=MIN_IDENTITIES, processes=1)
    return root


@pytest.fixture
def blank(monkeypatch: pytest.MonkeyPatch) -> None:
    """Makes every image at once, for tests that are not about images."""
    monkeypatch.setattr(dataset, "render", lambda shot, *, seed: b"drawn")


def files(root: Path) -> dict[str, bytes]:
    return {
        path.relative_to(root).as_posix(): path.read_bytes() for path in sorted(root.rglob("*.jpg"))
    }


def identities(root: Path, subset: str) -> set[str]:
    return {folder.name for folder in (root / subset).iterdir()}


def test_every_file_is_a_pedestrian_crop(sample: Path) -> None:
    for path, content in files(sample).items():
        subset, folder, name = path.split("/")
        match = NAME.fullmatch(name)
        assert subset in SETS
        assert match is not None
        assert match["identity"] == folder
        with Image.open(io.BytesIO(content)) as image:
            assert (image.format, image.mode, image.size) == ("JPEG", "RGB", (64, 128))


def test_names_are_unique_across_sets(sample: Path) -> None:
    names = [path.rsplit("/", 1)[1] for path in files(sample)]
    assert len(names) == len(set(names))


def test_every_identity_passes_every_camera(sample: Path) -> None:
    cameras = defaultdict(set)
    for path in files(sample):
        subset, identity, name = path.split("/")
        cameras[subset, identity].add(name.split("_")[1][:2])
    assert set(map(len, cameras.values())) == {6}


def test_one_query_per_identity_and_camera(sample: Path) -> None:
    names = [path.rsplit("/", 1)[1] for path in files(sample) if path.startswith("query/")]
    keys = [name[:7] for name in names]
    assert len(keys) == len(set(keys)) == 6 * len(identities(sample, "query"))


def test_sets_share_identities_only_as_promised(sample: Path) -> None:
    train, val, reference, query = (identities(sample, subset) for subset in SETS)
    assert query <= reference
    assert not train & val
    assert not (train | val) & reference


def test_reference_has_further_identities_in_larger_samples() -> None:
    subsets = defaultdict(set)
    for identity in range(1, 241):
        for shot in list_shots(identity, seed=0):
            subsets[shot.subset].add(identity)
    assert {name: len(members) for name, members in subsets.items()} == {
        "train": 156,
        "val": 20,
        "reference": 64,
        "query": 58,
    }
    assert {role(i) for i in subsets["reference"] - subsets["query"]} == {"distractor"}


def test_same_seed_same_bytes_whatever_the_processes(sample: Path, tmp_path: Path) -> None:
    generate_sample(tmp_path / "again", identities=MIN_IDENTITIES, processes=2)
    assert files(tmp_path / "again") == files(sample)


def test_an_image_does_not_depend_on_those_made_before(sample: Path) -> None:
    shots = [shot for identity in (1, 2, 9) for shot in list_shots(identity, seed=0)]
    for shot in reversed(shots):
        assert render(shot, seed=0) == (sample / shot.path).read_bytes()


def test_a_larger_sample_contains_the_smaller(tmp_path: Path, blank: None) -> None:
    for total in (12, 30):
        generate_sample(tmp_path / str(total), identities=total, processes=1)
    assert files(tmp_path / "12").items() <= files(tmp_path / "30").items()


def test_another_seed_gives_other_people() -> None:
    shot = Shot("train", 1, 1, 1)
    assert render(shot, seed=0) != render(shot, seed=1)


def test_pictures_of_one_person_differ() -> None:
    shots = {render(Shot("train", 1, camera, n), seed=0) for camera in (1, 2) for n in (1, 2, 3)}
    assert len(shots) == 6


def test_pictures_are_neither_black_nor_white(sample: Path) -> None:
    pixels = [np.asarray(Image.open(io.BytesIO(content))) for content in files(sample).values()]
    means = np.array([p.mean() for p in pixels])
    assert means.min() > 40
    assert means.max() < 210
    assert min(p.std() for p in pixels) > 15


def test_progress_ends_at_the_total(tmp_path: Path, blank: None) -> None:
    calls: list[tuple[int, int]] = []
    generate_sample(
        tmp_path / "new",
        identities=12,
        processes=1,
        progress=lambda done, total: calls.append((done, total)),
    )
    assert len(calls) == 12
    assert calls == sorted(calls)
    assert calls[-1] == (len(files(tmp_path / "new")),) * 2


def test_a_matching_sample_is_left_alone(sample: Path) -> None:
    def times() -> dict[Path, int]:
        return {path: path.stat().st_mtime_ns for path in [sample, *sample.rglob("*")]}

    before = times()
    generate_sample(sample, identities=MIN_IDENTITIES)
    assert times() == before


def test_an_interrupted_run_leaves_nothing(tmp_path: Path, blank: None) -> None:
    def interrupt(done: int, total: int) -> None:
        if done > total / 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        generate_sample(tmp_path / "new", identities=12, processes=1, progress=interrupt)
    assert list(tmp_path.iterdir()) == []


def test_of_two_at_once_the_first_wins(tmp_path: Path, blank: None) -> None:
    root, made = tmp_path / "new", []

    def overtake(done: int, total: int) -> None:
        if done == total:
            generate_sample(root, identities=12, processes=1)
            made.append((root / RECORD).stat().st_mtime_ns)

    generate_sample(root, identities=12, processes=1, progress=overtake)
    assert [(root / RECORD).stat().st_mtime_ns] == made
    assert list(tmp_path.iterdir()) == [root]


def test_what_comes_in_the_way_meanwhile_is_kept(tmp_path: Path, blank: None) -> None:
    root = tmp_path / "new"

    def interfere(done: int, total: int) -> None:
        if done == total:
            root.mkdir()
            (root / "thesis.tex").touch()

    with pytest.raises(FileExistsError, match=r"`root` should be a sample or a new folder"):
        generate_sample(root, identities=12, processes=1, progress=interfere)
    assert list(tmp_path.rglob("*")) == [root, root / "thesis.tex"]


@pytest.mark.parametrize(("sleeve", "stripes"), [(False, 13), (True, 9)])
def test_stripes(sleeve: bool, stripes: int) -> None:
    red, white = (200, 10, 20), (255, 255, 255)
    upper = Upper("t-shirt", red, white, red, "stripes", 0.5)
    along = np.linspace(0, 1, 5000, endpoint=False)
    colours = cloth(upper, sleeve=sleeve)(along, np.zeros(5000))
    is_white = (colours == white).all(axis=1)
    assert ((colours == red).all(axis=1) ^ is_white).all()
    assert is_white[0]
    assert (is_white[1:] & ~is_white[:-1]).sum() + 1 == stripes
    assert is_white.mean() == pytest.approx(0.42, abs=0.01)


def test_an_empty_folder_is_filled(tmp_path: Path, blank: None) -> None:
    (tmp_path / "new").mkdir()
    generate_sample(tmp_path / "new", identities=12, processes=1)
    assert (tmp_path / "new" / RECORD).is_file()


def test_another_sample_in_the_way(sample: Path) -> None:
    with pytest.raises(FileExistsError, match=r"holds a sample made with .*'seed': 0.*'seed': 7"):
        generate_sample(sample, identities=MIN_IDENTITIES, seed=7)


def test_other_files_in_the_way(tmp_path: Path) -> None:
    (tmp_path / "thesis.tex").touch()
    with pytest.raises(FileExistsError, match=r"`root` should be a sample or a new folder"):
        generate_sample(tmp_path, identities=MIN_IDENTITIES)
    assert (tmp_path / "thesis.tex").exists()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"identities": 11}, r"`identities` should be from 12 to 9999, got 11"),
        ({"identities": 10_000}, r"`identities` should be from 12 to 9999, got 10000"),
        ({"seed": -1}, r"`seed` should not be negative, got -1"),
        ({"processes": 0}, r"`processes` should be a positive integer or None, got 0"),
    ],
)
def test_numbers_out_of_range(tmp_path: Path, options: dict[str, int], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        generate_sample(tmp_path / "new", **options)  # type: ignore[arg-type]
    assert not (tmp_path / "new").exists()


def test_contact_sheet(sample: Path, tmp_path: Path) -> None:
    sheet = contact_sheet([1, 2], zoom=1)
    assert sheet.size == (6 * (64 + 4) + 4, 2 * (128 + 4) + 4)
    save_contact_sheet(tmp_path / "docs" / "sample.jpg", [1, 2])
    with Image.open(tmp_path / "docs" / "sample.jpg") as image:
        assert image.format == "JPEG"
