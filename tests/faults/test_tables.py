"""Listings of images, and embeddings in files."""

import json
import shutil
from collections.abc import Callable
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from src.eval import evaluate
from tests.datamodules.test_listing_datamodule import describe
from tests.embeddings.test_folder import IDENTITIES, write_array, write_parquet
from tests.faults.fault import Case, Fault, Faults, Provoke

FAULTS = Faults("Listings and embeddings")

Change = Callable[[pd.DataFrame], pd.DataFrame]


def listed(change: Change) -> Provoke:
    """Evaluate the images that a changed listing describes."""

    def provoke(case: Case) -> list[str]:
        table = describe(case.prepared_data)
        table["path"] = [str(case.prepared_data / path) for path in table["path"]]
        change(table).to_csv(case.folder / "images.csv", index=False)
        return use_listing(case, "images.csv")

    return provoke


def use_listing(case: Case, name: str) -> list[str]:
    return ["datamodule=listing", f"datamodule.file={case.folder / name}"]


def foreign(**changes: str) -> Change:
    """Describe the images as open-metric-learning does."""

    def change(table: pd.DataFrame) -> pd.DataFrame:
        is_test = table["set"].isin(["reference", "query"])
        columns = {
            "label": table["identity"],
            "path": table["path"],
            "split": is_test.map({True: "validation", False: "train"}),
            "is_query": (table["set"] == "query").where(is_test, None),
            "is_gallery": (table["set"] == "reference").where(is_test, None),
        }
        return pd.DataFrame(columns).assign(**changes)

    return change


def in_both_sets(table: pd.DataFrame) -> pd.DataFrame:
    return table.replace({"set": {"query": "query reference"}})


LISTINGS: list[tuple[str, str, Change]] = [
    (
        "A listing names another set",
        "<file> should name sets among <names>, got 'gallery' for <image>",
        lambda table: table.assign(set="gallery"),
    ),
    (
        "A listing does not say the set",
        "<file> should have `set` in every row, got none in 0",
        lambda table: table.assign(set=""),
    ),
    (
        "A listing does not say the identity",
        "<file> should have `identity` in every row, got none in 0",
        lambda table: table.assign(identity=""),
    ),
    (
        "A listing has no column of sets",
        "<file> should have a column `set`, got none",
        lambda table: table.drop(columns="set"),
    ),
    (
        "A listing has an image twice in a set",
        "<file> should have an image once in `train`, got <image> twice",
        lambda table: table.assign(path="same.jpg"),
    ),
    (
        "A listing has no queries",
        "<file> should list images of the set `query`, got none",
        lambda table: table.assign(set="reference"),
    ),
    (
        "A listing has some images in both sets",
        "<file> should have all or none of its test images in both `reference` and `query`, got 5 "
        "in both, such as <image>: a query must not find itself",
        in_both_sets,
    ),
    (
        "A listing has boxes in images",
        "<file> should describe whole images by label, path, split, is_query and is_gallery, got "
        "boxes: cut them out",
        foreign(x_1="3"),
    ),
    (
        "A listing has another split",
        "<file> should have train or validation in `split`, and true or false in `is_query` and "
        "`is_gallery`, got 'test' and ",
        foreign(split="test"),
    ),
    (
        "A listing says maybe",
        "`is_query` and `is_gallery`, got 'train' and ['maybe', '']",
        foreign(is_query="maybe"),
    ),
    (
        "A listing names images that do not exist",
        "14 of 14 files cannot be read as an image; delete or restore them. The first:\n  <image>",
        lambda table: table.assign(path=[f"{row}.jpg" for row in range(len(table))]),
    ),
]
for name, shown, change in LISTINGS:
    FAULTS.add(name, shown)(listed(change))


@FAULTS.add("There is no listing", "No listing at <file>")
def _(case: Case) -> list[str]:
    return use_listing(case, "none.csv")


@FAULTS.add("A listing is no table by its name", "<file> should be a .csv or .parquet file")
def _(case: Case) -> list[str]:
    (case.folder / "images.txt").write_text("path,identity,set\n")
    return use_listing(case, "images.txt")


@FAULTS.add("A listing is something else", "<file> is no table, or a damaged one")
def _(case: Case) -> list[str]:
    (case.folder / "images.parquet").write_text("something else")
    return use_listing(case, "images.parquet")


@FAULTS.add("A listing is empty", "<file> is no table, or a damaged one")
def _(case: Case) -> list[str]:
    (case.folder / "images.csv").touch()
    return use_listing(case, "images.csv")


def use_embeddings(case: Case) -> list[str]:
    folder = case.folder / "embeddings"
    return ["datamodule=embeddings", "ckpt_path=null", f"datamodule.data_dir={folder}"]


def embedded(**changes: Any) -> Provoke:
    """Evaluate a Parquet file with changed columns."""

    def provoke(case: Case) -> list[str]:
        (case.folder / "embeddings").mkdir()
        write_parquet(case.folder / "embeddings", "query", **changes)
        return use_embeddings(case)

    return provoke


def in_array(**given: Any) -> Provoke:
    """Evaluate a NumPy file, or the table beside it, with something else in it."""

    def provoke(case: Case) -> list[str]:
        (case.folder / "embeddings").mkdir()
        write_array(case.folder / "embeddings", "query", **given)
        return use_embeddings(case)

    return provoke


EMBEDDINGS: list[tuple[str, str, Provoke]] = [
    (
        "Embeddings have no identities",
        "<file> should have a column `identity`, got none",
        embedded(identity=None),
    ),
    (
        "A file has no embeddings",
        "<file> should have a column `embedding`, got ['identity']",
        embedded(embedding=None),
    ),
    (
        "Embeddings are numbers",
        "<file> should have lists of float16, <kinds> got double",
        embedded(embedding=[1.0, 2, 3, 4]),
    ),
    (
        "Embeddings are integers",
        "<file> should have lists of float16, <kinds> got list<element: int64>",
        embedded(embedding=[[1, 2, 3]] * 4),
    ),
    (
        "Embeddings differ in width",
        "<file> should hold embeddings of width 2, got one of width 1 in row 2",
        embedded(embedding=[[1.0, 2], [1.0, 2], [1.0], [1.0, 2]]),
    ),
    (
        "Embeddings are empty",
        "<file> should hold embeddings, got an empty one",
        embedded(embedding=[np.zeros(0)] * 4),
    ),
    (
        "An embedding is missing",
        "<file> should have an embedding in every row, got none in row 1",
        embedded(embedding=[[1.0], None, [1.0], [1.0]]),
    ),
    (
        "An embedding is NaN",
        "<file> should hold finite numbers, got NaN or infinity in row 2, of identity a",
        embedded(embedding=[[1.0], [2.0], [np.nan], [1.0]]),
    ),
    (
        "An embedding is infinite",
        "<file> should hold finite numbers, got NaN or infinity in row 1, of identity 7",
        embedded(embedding=[[1.0], [np.inf], [1.0], [1.0]]),
    ),
    (
        "An embedding is zero",
        "`embeddings` should have a direction under cosine, got zero vectors in 1 of 4 rows, the "
        "first of them row 1",
        embedded(embedding=[[1.0], [0.0], [1.0], [1.0]]),
    ),
    (
        "Identities are lists",
        "<file> should have text or integers in `identity`, got list<",
        embedded(identity=[[1], [2], [3], [4]]),
    ),
    (
        "Identities are true or false",
        "<file> should have text or integers in `identity`, got bool",
        embedded(identity=[True] * 4),
    ),
    (
        "Identities are fractions",
        "<file> should have text or integers in `identity`, got double",
        embedded(identity=[1.5, 2, 3, 4]),
    ),
    (
        "An identity is missing",
        "<file> should have `identity` in every row, got none in 1",
        embedded(identity=["a", None, "b", "c"]),
    ),
    (
        "An index is there twice",
        "<file> should have another `index` in every row, got 1 twice",
        embedded(index=[1, 2, 1, 3]),
    ),
    (
        "Indices are fractions",
        "<file> should have integers in `index`, got double",
        embedded(index=[1.5, 2, 3, 4]),
    ),
    (
        "An array has one dimension",
        "<file> should have shape [N, D], got [4]",
        in_array(array=np.zeros(4)),
    ),
    (
        "An array holds integers",
        "<file> should hold float16, <kinds>, got int64",
        in_array(array=np.ones((4, 2), int)),
    ),
    (
        "An array holds objects",
        "<file> is no NumPy file, or a damaged one",
        in_array(array=np.array([[None]])),
    ),
    (
        "A table has fewer rows than the array beside it",
        "<file> should have 4 rows as query.npy has, got 1",
        in_array(csv="identity\na\n"),
    ),
    (
        "A table beside an array has no identities",
        "<file> should have a column `identity`, got none",
        in_array(csv="camera\n1\n2\n3\n4\n"),
    ),
    (
        "A table beside an array lacks an identity",
        "<file> should have `identity` in every row, got none in 0",
        in_array(csv="identity,camera\n,1\nb,2\nc,3\nd,4\n"),
    ),
    (
        "A table beside an array is something else",
        "<file> is no table, or a damaged one",
        in_array(csv="not a table,\n1\n"),
    ),
]
for name, shown, provocation in EMBEDDINGS:
    FAULTS.add(name, shown)(provocation)


@FAULTS.add("A file has no rows", "<file> should hold at least one embedding, got none")
def _(case: Case) -> list[str]:
    options = embedded()(case)
    empty = {
        "identity": pa.array([], pa.string()),
        "embedding": pa.array([], pa.list_(pa.float32())),
    }
    pq.write_table(pa.table(empty), case.folder / "embeddings" / "query.parquet")
    return list(options or ())


@FAULTS.add(
    "There are no embeddings", "No embeddings in <folder>: expected `reference` and `query`"
)
def _(case: Case) -> list[str]:
    (case.folder / "embeddings").mkdir()
    return use_embeddings(case)


@FAULTS.add(
    "The folder is that of the run that kept them",
    "No embeddings in <folder>, the folder of a run: they are in <folder>",
)
def _(case: Case) -> list[str]:
    kept = case.folder / "embeddings" / "embeddings"
    kept.mkdir(parents=True)
    (kept / "manifest.json").touch()
    return use_embeddings(case)


@FAULTS.add("There is no folder of embeddings", "No folder <folder>, which should hold embeddings")
def _(case: Case) -> list[str]:
    return use_embeddings(case)


@FAULTS.add("Files could be either set", "got ['a.parquet', 'b.parquet']")
def _(case: Case) -> list[str]:
    (case.folder / "embeddings").mkdir()
    for name in ("a", "b"):
        write_parquet(case.folder / "embeddings", name)
    return use_embeddings(case)


def in_files(*files: dict[str, Any]) -> Provoke:
    """Evaluate embeddings of queries that are spread over files."""

    def provoke(case: Case) -> list[str]:
        (case.folder / "embeddings").mkdir()
        for number, columns in enumerate(files):
            write_parquet(case.folder / "embeddings", f"query-{number}", **columns)
        return use_embeddings(case)

    return provoke


OF_FOUR = np.ones((4, 2), np.float32)
IN_FILES = [
    (
        "Files of one set hold embeddings of different widths",
        "query-1.parquet should hold embeddings of width 3 in torch.float32 as query-0.parquet "
        "does, got 2 in torch.float32",
        [{}, {"embedding": list(OF_FOUR)}],
    ),
    (
        "Files of one set have different columns",
        "query-1.parquet should have the columns ['identity', 'camera'] as query-0.parquet has, "
        "got ['identity']",
        [{"camera": [1, 2, 3, 4]}, {}],
    ),
    (
        "Files of one set have columns of different types",
        "query-0.parquet and others should have columns of the same types: <reason>",
        [{"camera": [1, 2, 3, 4]}, {"camera": list("abcd")}],
    ),
]
for name, shown, files in IN_FILES:
    FAULTS.add(name, shown)(in_files(*files))


@FAULTS.add("An index in a CSV file is text", "should have integers in `index`: <reason>")
def _(case: Case) -> list[str]:
    (case.folder / "embeddings").mkdir()
    write_array(case.folder / "embeddings", "all", csv="index,identity\nx,a\n1,b\n2,c\n3,d\n")
    return use_embeddings(case)


@FAULTS.add("A file of embeddings is damaged", "<file> is no Parquet file, or a damaged one")
def _(case: Case) -> list[str]:
    options = embedded()(case)
    (case.folder / "embeddings" / "query.parquet").write_bytes(b"nothing")
    return list(options or ())


@FAULTS.add(
    "An array has no table beside it",
    "query.npy should have query.csv or query.parquet beside it, which says who is on each image, "
    "got neither",
)
def _(case: Case) -> list[str]:
    options = in_array()(case)
    (case.folder / "embeddings" / "query.csv").unlink()
    return list(options or ())


@FAULTS.add("An array has two tables beside it", "which says who is on each image, got both")
def _(case: Case) -> list[str]:
    options = in_array()(case)
    table = pa.table({"identity": IDENTITIES})
    pq.write_table(table, case.folder / "embeddings" / "query.parquet")
    return list(options or ())


@FAULTS.add(
    "Sets of embeddings differ in width",
    "`query` should hold embeddings of width 3 in torch.float32 as `reference` does, got width 2",
)
def _(case: Case) -> list[str]:
    options = in_array(array=np.ones((4, 2), np.float32))(case)
    write_array(case.folder / "embeddings", "reference")
    return list(options or ())


@FAULTS.add(
    "A manifest is of another kind", "should be a manifest of kept embeddings, got one that"
)
def _(case: Case) -> list[str]:
    options = embedded()(case)
    (case.folder / "embeddings" / "manifest.json").write_text(json.dumps({"origin": {}}))
    return list(options or ())


def keep(case: Case) -> list[str]:
    """Evaluate once, so that there are embeddings to spoil."""
    evaluate(case.compose("eval", "embeddings.keep=true"))
    (case.folder / "run").rename(case.folder / "kept")
    shutil.copytree(case.folder / "kept" / "embeddings", case.folder / "embeddings")
    return use_embeddings(case)


@FAULTS.add(
    "One bit of kept embeddings has flipped",
    "<file> should have the SHA-256 <digest> of manifest.json, got <digest>: the file was "
    "changed or "
    "damaged; evaluate the images again",
)
def _(case: Case) -> list[str]:
    options = keep(case)
    shard = case.folder / "embeddings" / "query-00000.parquet"
    content = bytearray(shard.read_bytes())
    content[100] ^= 4
    shard.write_bytes(content)
    return options


@FAULTS.add(
    "A file of kept embeddings is missing",
    "<folder> should hold all files of its manifest.json, lacks ['query-00000.parquet']",
)
def _(case: Case) -> list[str]:
    options = keep(case)
    (case.folder / "embeddings" / "query-00000.parquet").unlink()
    return options


@FAULTS.add(
    "A manifest of kept embeddings counts other images",
    "<folder> should hold 6 images of the set `query`",
)
def _(case: Case) -> list[str]:
    options = keep(case)
    manifest = case.folder / "embeddings" / "manifest.json"
    content = json.loads(manifest.read_text())
    assert content["counts"]["query"] == 5
    content["counts"]["query"] = 6
    manifest.write_text(json.dumps(content))
    return options


@FAULTS.add(
    "An evaluation resumes with another checkpoint",
    "`resume` should name an evaluation of the same checkpoint, data and preprocessing",
)
def _(case: Case) -> list[str]:
    keep(case)
    return ["model.flip=true", "embeddings.keep=true", f"resume={case.folder / 'kept'}"]


@FAULTS.parametrize()
def test_fault(fault: Fault, provoke: Callable[[Fault], str]) -> None:
    provoke(fault)
