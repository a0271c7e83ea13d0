from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch

from src.datamodules.embedding_datamodule import EmbeddingDataModule
from src.embeddings import stored_set
from src.embeddings.folder import open_folder

pytestmark = [
    pytest.mark.filterwarnings("ignore:Identities that differ only by"),  # as 07 and 7 below
    pytest.mark.filterwarnings("ignore:No identity of `query`"),
]

EMBEDDINGS = np.arange(12, dtype=np.float32).reshape(4, 3) + 1
IDENTITIES = ["07", "7", "a", "a"]


def write_parquet(folder: Path, name: str, **changes: Any) -> None:
    columns = {"identity": IDENTITIES, "embedding": list(EMBEDDINGS)} | changes
    table = pd.DataFrame({name: column for name, column in columns.items() if column is not None})
    table.to_parquet(folder / f"{name}.parquet", index=False)


def write_array(folder: Path, name: str, array: Any = EMBEDDINGS, csv: str | None = None) -> None:
    np.save(folder / f"{name}.npy", array)
    (folder / f"{name}.csv").write_text(csv or "identity\n" + "\n".join(IDENTITIES) + "\n")


def read(folder: Path) -> tuple[EmbeddingDataModule, list[torch.Tensor]]:
    """Read a folder; return the data module, and all embeddings of each set in order of index."""
    datamodule = EmbeddingDataModule(folder)
    datamodule.setup("test")
    embeddings = []
    for loader in datamodule.test_dataloader():
        batches = list(loader)
        index = torch.cat([batch.index for batch in batches])
        embeddings.append(torch.cat([batch.embedding for batch in batches])[index.argsort()])
    return datamodule, embeddings


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
@pytest.mark.parametrize("fixed", [True, False])
def test_parquet_of_any_kind(tmp_path: Path, dtype: Any, fixed: bool) -> None:
    values = EMBEDDINGS.astype(dtype)
    column = pa.array(list(values), pa.list_(pa.from_numpy_dtype(dtype), 3 if fixed else -1))
    for name in ("reference", "query"):
        pq.write_table(
            pa.table({"identity": IDENTITIES, "embedding": column}), tmp_path / f"{name}.parquet"
        )
    datamodule, (reference, query) = read(tmp_path)
    assert reference.dtype == torch.from_numpy(values).dtype
    assert torch.equal(reference, torch.from_numpy(values))
    assert torch.equal(query, reference)
    assert datamodule.query_set.identities == {"07", "7", "a"}


def test_several_files_and_row_groups_are_read_in_the_order_of_their_index(tmp_path: Path) -> None:
    write_parquet(tmp_path, "query", index=[30, 10, 20, 0], camera=[1, 2, 2, None])
    for file, rows in enumerate([slice(0, 1), slice(1, 4)]):
        part = {"identity": IDENTITIES[rows], "embedding": list(EMBEDDINGS[rows])}
        table = pa.Table.from_pandas(pd.DataFrame(part))
        pq.write_table(table, tmp_path / f"reference-{file:05}.parquet", row_group_size=2)
    datamodule, (reference, query) = read(tmp_path)
    assert torch.equal(reference, torch.from_numpy(EMBEDDINGS))
    assert torch.equal(query, torch.from_numpy(EMBEDDINGS[[3, 1, 2, 0]]))
    table = datamodule.query_set.table()
    assert table["identity"].tolist() == ["a", "7", "a", "07"]


def test_a_csv_file_is_text(tmp_path: Path) -> None:
    write_array(tmp_path, "reference")
    write_array(tmp_path, "query", csv="path,camera,identity\na,01,07\nb,1,7\nc,,NA\nd,2,null\n")
    datamodule, (_, query) = read(tmp_path)
    assert torch.equal(query, torch.from_numpy(EMBEDDINGS))
    table = datamodule.query_set.table()
    assert table["identity"].tolist() == ["07", "7", "NA", "null"]
    assert table["camera"].fillna("unknown").tolist() == ["01", "1", "unknown", "2"]
    assert datamodule.reference_set.table()["path"].tolist() == [
        f"reference/{index}" for index in range(4)
    ]


def test_one_mapping_numbers_identities_and_cameras_of_both_sets(tmp_path: Path) -> None:
    write_parquet(tmp_path, "reference", identity=["c", "b", "a", "b"], camera=["x", "y", "z", "x"])
    write_parquet(tmp_path, "query", identity=[3, 2, 1, 2], camera=["z", None, "x", "w"])
    datamodule = EmbeddingDataModule(tmp_path)
    datamodule.setup("test")
    (reference,), (query,) = map(list, datamodule.test_dataloader())
    assert reference.label.tolist() == [5, 4, 3, 4]  # among 1, 2, 3, a, b, c
    assert query.label.tolist() == [2, 1, 0, 1]
    assert reference.camera.tolist() == [1, 2, 3, 1]  # among w, x, y, z
    assert query.camera.tolist() == [3, -1, 1, 0]


@pytest.mark.parametrize("processes", [1, 2, 3, 7])
@pytest.mark.parametrize("rows", [1, 2, 3, 100])
def test_processes_share_the_rows(
    tmp_path: Path, processes: int, rows: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    embeddings = np.random.default_rng(0).standard_normal((11, 3))
    monkeypatch.setattr(stored_set, "_READ_BYTES", embeddings[:2].nbytes)
    monkeypatch.setattr(stored_set, "_BLOCK_BYTES", embeddings[:rows].nbytes)
    for file, part in enumerate(np.split(embeddings, [4])):
        table = pa.table({"identity": list("abcdefg")[: len(part)], "embedding": list(part)})
        pq.write_table(table, tmp_path / f"query-{file:05}.parquet", row_group_size=3)
    stored = open_folder(tmp_path).sets["query"]
    bounds = [rank * 11 // processes for rank in range(processes + 1)]
    parts = [block for first, last in pairwise(bounds) for block in stored.blocks(first, last)]
    assert torch.equal(
        torch.cat([block.embedding for block in parts]), torch.from_numpy(embeddings)
    )
    assert [row for block in parts for row in range(11)[block.rows]] == list(range(11))
    assert max(len(block.embedding) for block in parts) <= max(rows, 2)


def test_an_array_with_a_parquet_table(tmp_path: Path) -> None:
    write_array(tmp_path, "query")
    pq.write_table(pa.table({"identity": IDENTITIES}), tmp_path / "query.parquet")
    (tmp_path / "query.csv").unlink()
    assert torch.equal(read(tmp_path)[1][0], torch.from_numpy(EMBEDDINGS))


@pytest.mark.parametrize(
    "other", [EMBEDDINGS[:, :2].copy(), EMBEDDINGS.astype(np.float16)], ids=["width", "dtype"]
)
def test_sets_that_do_not_go_together(tmp_path: Path, other: Any) -> None:
    write_array(tmp_path, "reference")
    write_array(tmp_path, "query", other)
    with pytest.raises(ValueError, match=r"`query` should hold embeddings of width 3 in torch.fl"):
        read(tmp_path)


def test_one_array_of_any_name(tmp_path: Path) -> None:
    write_array(tmp_path, "all")
    datamodule, (query,) = read(tmp_path)
    assert datamodule.leave_one_out
    assert torch.equal(query, torch.from_numpy(EMBEDDINGS))


def test_the_index_in_a_csv_file_is_a_number(tmp_path: Path) -> None:
    write_array(tmp_path, "all", csv="index,identity\n10,a\n 9,b\n8,c\n007,d\n")
    datamodule, (query,) = read(tmp_path)
    assert torch.equal(query, torch.from_numpy(EMBEDDINGS[[3, 2, 1, 0]]))
    assert datamodule.query_set.table()["identity"].tolist() == ["d", "c", "b", "a"]


def test_finite_numbers_whose_sum_is_not(tmp_path: Path) -> None:
    largest = np.full((4, 3), np.finfo(np.float32).max)
    write_array(tmp_path, "all", largest)
    assert torch.equal(read(tmp_path)[1][0], torch.from_numpy(largest))


@pytest.mark.parametrize("name", ["query", "reference", "all"])
def test_one_set_alone_is_compared_with_itself(tmp_path: Path, name: str) -> None:
    write_parquet(tmp_path, name)
    datamodule, embeddings = read(tmp_path)
    assert datamodule.leave_one_out
    assert len(embeddings) == 1
    assert datamodule.query_set is datamodule.reference_set
    assert datamodule.notice.startswith("Leave-one-out")


def test_a_training_needs_images(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"`datamodule` should hold images for a training, got e"):
        EmbeddingDataModule(tmp_path).setup("fit")
