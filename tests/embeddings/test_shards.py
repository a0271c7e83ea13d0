import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pandas as pd
import pytest
import torch

from src.embeddings.shards import Shard, read_record, take_over, write_shard

SHARD = Shard("query", 3)
INDEX = torch.tensor([2, 0])
EMBEDDINGS = torch.tensor([[1.5, -2.0, 0.25], [4.0, 5.0, 6.0]])


@pytest.fixture
def elsewhere(tmp_path: Path) -> Iterator[Path]:
    """A folder on another file system than tmp_path."""
    memory = Path("/dev/shm")
    if not memory.is_dir() or memory.stat().st_dev == tmp_path.stat().st_dev:
        pytest.skip("no second file system")
    folder = Path(tempfile.mkdtemp(dir=memory))
    yield folder
    shutil.rmtree(folder)


@pytest.fixture(params=["beside", "elsewhere"])
def source(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    """A folder with one shard that a process has finished."""
    if request.param == "elsewhere":
        folder: Path = request.getfixturevalue("elsewhere")
    else:
        folder = tmp_path / "source"
        folder.mkdir()
    table = pd.DataFrame({"path": list("abc"), "identity": list("xyz"), "camera": [None, "1", "2"]})
    write_shard(folder, SHARD, 1, INDEX, EMBEDDINGS, table)
    return folder


def test_a_whole_shard_is_taken_over(source: Path, tmp_path: Path) -> None:
    own = tmp_path / "own"
    own.mkdir()
    ((shard, index, embeddings),) = take_over(source, own, 1)
    assert shard == SHARD
    assert torch.equal(index, INDEX)
    assert torch.equal(embeddings, EMBEDDINGS)
    assert (own / SHARD.file_name).read_bytes() == (source / SHARD.file_name).read_bytes()
    assert read_record(own, 1) == read_record(source, 1)


def test_a_damaged_shard_is_not_taken_over(source: Path, tmp_path: Path) -> None:
    path = source / SHARD.file_name
    path.write_bytes(path.read_bytes()[:-1])
    assert list(take_over(source, tmp_path, 1)) == []
    assert not (tmp_path / SHARD.file_name).exists()
