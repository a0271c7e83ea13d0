"""Damaged files: a reader gives an error that is a sentence, or what was in the file."""

import io
import json
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from src.datamodules.components.image_listing import list_images
from src.datamodules.components.image_set import ImageSet
from src.datamodules.components.inspection import inspect_images
from src.datamodules.components.layouts import ImageFile
from src.datamodules.components.table_listing import read_sets
from src.embeddings.folder import open_folder
from src.preprocessing import Preprocessing
from src.report.evaluation_folder import RESULT_FILE, read_evaluation
from src.tracking.journal import JOURNAL_FILE, Journal, read_journal
from src.utils.checkpoint import read_checkpoint
from tests.report.evaluations import make_predictions, write_evaluation

FUZZ = settings.get_profile("fuzz")
EDITS = st.lists(
    st.tuples(
        st.sampled_from(["flip", "cut", "insert", "remove"]),
        st.floats(0, 1),
        st.binary(min_size=1, max_size=9),
    ),
    min_size=1,
    max_size=3,
)


def damage(content: bytes, edits: list[tuple[str, float, bytes]]) -> bytes:
    """Change, cut off, insert or remove some bytes."""
    for kind, place, other in edits:
        at = int(place * len(content))
        if kind == "cut":
            content = content[:at]
        elif kind == "insert":
            content = content[:at] + other + content[at:]
        elif kind == "remove":
            content = content[:at] + content[at + len(other) :]
        elif at < len(content):
            content = content[:at] + bytes([content[at] ^ (other[0] or 1)]) + content[at + 1 :]
    return content


def read_damaged(
    file: Path, read: Callable[[], Any], is_right: Callable[[Any], bool] = lambda _: True
) -> None:
    """Damage a file in many ways, and read it each time."""
    sound = file.read_bytes()

    @FUZZ
    @given(EDITS)
    def check(edits: list[tuple[str, float, bytes]]) -> None:
        file.write_bytes(damage(sound, edits))
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            try:
                found = read()
            except (ValueError, OSError) as error:
                message = str(error)
            else:
                assert is_right(found)
                return
        assert len(message) > 10
        assert "Traceback" not in message

    check()


def test_checkpoints(tmp_path: Path) -> None:
    file = tmp_path / "a.ckpt"
    weights = {"one": torch.arange(300.0), "two": torch.arange(4)}
    torch.save({"state_dict": weights, "hyper_parameters": {"lr": 0.1}, "epoch": 3}, file)

    def is_right(found: Any) -> bool:
        same = found.content["state_dict"]
        return all(torch.equal(same[name], value) for name, value in weights.items())

    read_damaged(file, lambda: read_checkpoint(file), is_right)


@pytest.mark.parametrize("kind", ["jpeg", "png", "bmp", "webp", "tiff", "gif"])
def test_images(tmp_path: Path, kind: str) -> None:
    file = tmp_path / f"a.{kind}"
    pixels = np.random.default_rng(0).integers(0, 256, (32, 16, 3), dtype=np.uint8)
    content = io.BytesIO()
    Image.fromarray(pixels).save(content, kind)
    file.write_bytes(content.getvalue())
    images = ImageSet(
        "query", tmp_path, [ImageFile(file, "a", None)], {"a": 0}, {}, Preprocessing((32, 16)).fit
    )

    def read() -> Any:
        inspect_images([images])
        return images[0].image

    read_damaged(file, read, lambda image: image.shape == (3, 32, 16))


@pytest.mark.parametrize("suffix", ["csv", "parquet"])
def test_listings(tmp_path: Path, suffix: str) -> None:
    file = tmp_path / f"a.{suffix}"
    rows = [(f"{row}.jpg", row // 2, ("query", "reference")[row % 2], row % 3) for row in range(8)]
    table = pd.DataFrame(rows, columns=["path", "identity", "set", "camera"])
    table.to_csv(file, index=False) if suffix == "csv" else table.to_parquet(file)
    read_damaged(file, lambda: read_sets(file))


def test_embeddings(tmp_path: Path) -> None:
    file = tmp_path / "query.parquet"
    table = pd.DataFrame({"identity": list("abcd"), "embedding": [[1.0, 2.0]] * 4})
    table.to_parquet(file)

    def read() -> Any:
        (only,) = open_folder(tmp_path).sets.values()
        return [only.table(), *only.blocks(0, len(only))]

    read_damaged(file, read)


def test_arrays(tmp_path: Path) -> None:
    file = tmp_path / "query.npy"
    np.save(file, np.ones((4, 3), np.float32))
    (tmp_path / "query.csv").write_text("identity\na\nb\nc\nd\n")

    def read() -> Any:
        (only,) = open_folder(tmp_path).sets.values()
        return list(only.blocks(0, len(only)))

    read_damaged(file, read)


def test_results(tmp_path: Path) -> None:
    write_evaluation(tmp_path, make_predictions([True, False]))
    read_damaged(tmp_path / RESULT_FILE, lambda: read_evaluation(tmp_path))


def test_journals(tmp_path: Path) -> None:
    Journal({"task_name": "eval"}, {}, None, [("log_metrics", [{"a": 1.0}, 0], {})]).write(tmp_path)
    read_damaged(tmp_path / JOURNAL_FILE, lambda: read_journal(tmp_path))


NAMES = st.text(st.characters(codec="utf-8", exclude_characters="\0/"), min_size=1, max_size=40)


@FUZZ
@given(st.lists(st.tuples(NAMES, NAMES), min_size=1, max_size=3))
def test_names(tmp_path_factory: pytest.TempPathFactory, names: list[tuple[str, str]]) -> None:
    folder = tmp_path_factory.mktemp("data")
    expected = set()
    for identity, name in names:
        person = folder / "reference" / identity
        if identity in (".", "..") or len(name.encode()) > 200 or len(identity.encode()) > 200:
            continue
        person.mkdir(parents=True, exist_ok=True)
        (person / f"{name}.jpg").touch()
        if not (identity.startswith(".") or name.startswith(".")):
            expected.add((identity, f"{name}.jpg"))
    if not expected:
        return
    found = list_images(folder, "reference").images
    assert {(image.identity, image.path.name) for image in found} == expected


def test_numbers_of_a_journal_come_back(tmp_path: Path) -> None:
    journal = Journal(
        {"task_name": "eval"}, {"a": "b"}, None, [("log_artifact", [tmp_path / "x"], {})]
    )
    journal.write(tmp_path)
    assert json.loads((tmp_path / JOURNAL_FILE).read_text())["calls"][0][1] == [{"$path": "x"}]
    assert read_journal(tmp_path).calls == [["log_artifact", [tmp_path / "x"], {}]]
