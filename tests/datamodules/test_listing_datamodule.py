"""Data sets that a table describes."""

from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from src.datamodules.components.image_listing import list_images
from src.datamodules.listing_datamodule import ListingDataModule
from src.datamodules.market_datamodule import MarketDataModule
from src.eval import evaluate
from tests.conftest import (
    QUERY,
    REFERENCE,
    TRAIN,
    VAL,
    ComposeConfig,
    make_official,
    make_prepared,
    save_image,
)

SETS = ("train", "val", "reference", "query")


def describe(data_dir: Path, **changes: Any) -> pd.DataFrame:
    """Describe prepared or official folders, with paths relative to them."""
    rows = [
        (str(image.path.relative_to(data_dir)), image.identity, name, image.camera)
        for name in SETS
        for image in list_images(data_dir, name).images
    ]
    return pd.DataFrame(rows, columns=["path", "identity", "set", "camera"]).assign(**changes)


def listing(file: Path, stage: str = "test", **options: Any) -> ListingDataModule:
    datamodule = ListingDataModule(file, **options)
    datamodule.setup(stage)
    return datamodule


@pytest.mark.parametrize("suffix", ["csv", "parquet"])
@pytest.mark.parametrize("make", ["prepared", "official"])
def test_a_listing_gives_what_the_folders_give(
    eval_config: ComposeConfig, tmp_path: Path, suffix: str, make: str
) -> None:
    if make == "official":
        data_dir = make_official(tmp_path / "data")
    else:
        data_dir = make_prepared(
            tmp_path / "data", train=TRAIN, val=VAL, reference=REFERENCE, query=QUERY
        )
    file = data_dir / f"images.{suffix}"
    table = describe(data_dir).sample(frac=1, random_state=0)
    table.to_csv(file, index=False) if suffix == "csv" else table.to_parquet(file)
    report = ["logger=none", "analysis.report=true", "analysis.pictures=false"]
    folders, objects = evaluate(eval_config(f"datamodule.data_dir={data_dir}", *report))
    predictions = (tmp_path / "run" / "predictions.parquet").read_bytes()
    cfg = eval_config("datamodule=listing", f"datamodule.file={file}", *report)
    listed, listed_objects = evaluate(cfg)
    assert listed == folders
    assert (tmp_path / "run" / "predictions.parquet").read_bytes() == predictions
    digests = [o["datamodule"].inspection.digest for o in (objects, listed_objects)]
    assert digests[0] == digests[1]


def test_training_sets(official_data: Path, tmp_path: Path) -> None:
    table = describe(official_data)
    table["path"] = [str(official_data / path) for path in table["path"]]
    table.to_csv(tmp_path / "with_val.csv", index=False)
    table["set"] = table["set"].replace("val", "train")
    table.to_csv(tmp_path / "without_val.csv", index=False)
    folders = MarketDataModule(official_data)
    folders.setup("fit")
    for file in ("with_val.csv", "without_val.csv"):
        listed = listing(tmp_path / file, "fit")
        assert listed.train_set.images == folders.train_set.images
        assert listed.val_set.images == folders.val_set.images
        assert listed.num_classes == folders.num_classes


def test_training_images_may_be_elsewhere(prepared_data: Path, tmp_path: Path) -> None:
    table = describe(prepared_data)
    here = table["set"].isin(["reference", "query"])
    table["path"] = [
        str(prepared_data / path) if near else "nowhere.jpg"
        for path, near in zip(table["path"], here, strict=False)
    ]
    table[here | (table.index == 0)].to_csv(tmp_path / "images.csv", index=False)
    assert len(listing(tmp_path / "images.csv").query_set) == sum(map(len, QUERY.values()))


def test_names_are_text(tmp_path: Path) -> None:
    rows = [
        ("a.jpg", "7", "reference", "door"),
        ("b.jpg", "07", "reference", "NA"),
        ("c.jpg", "NA", "reference", ""),
        ("d.jpg", "7", "query", "door"),
    ]
    for path, *_ in rows:
        save_image(tmp_path / path, path)
    file = tmp_path / "images.csv"
    pd.DataFrame(rows, columns=["path", "identity", "set", "camera"]).to_csv(file, index=False)
    with pytest.warns(UserWarning, match=r"Pairs of them: 1. The first: '07' and '7'"):
        datamodule = listing(file)
    assert datamodule.reference_set.identities == {"7", "07", "NA"}
    reference = datamodule.reference_set.table()
    assert reference["camera"].fillna("unknown").tolist() == ["NA", "door", "unknown"]
    samples = [datamodule.reference_set[i] for i in range(3)]
    assert [int(s.label) for s in samples] == [0, 1, 2]
    assert [int(s.camera) for s in samples] == [0, 1, -1]
    assert int(datamodule.query_set[0].label) == 1
    assert int(datamodule.query_set[0].camera) == 1


def test_images_in_both_sets_are_not_compared_with_themselves(
    eval_config: ComposeConfig, prepared_data: Path, tmp_path: Path
) -> None:
    table = describe(prepared_data).query("set == 'reference' and identity != '0011'")
    table["path"] = [str(prepared_data / path) for path in table["path"]]
    table.assign(set="reference query").to_csv(tmp_path / "one.csv", index=False)
    pd.concat([table, table.assign(set="query")]).to_csv(tmp_path / "two.csv", index=False)
    results = []
    for name in ("one", "two"):
        options = ["datamodule=listing", f"datamodule.file={tmp_path / name}.csv", "logger=none"]
        metrics, objects = evaluate(eval_config(*options, "embeddings.keep=true"))
        results.append(metrics)
        assert metrics["test/queries"] == sum(map(len, REFERENCE.values())) - 1
        assert objects["datamodule"].notice.startswith("Leave-one-out")
    assert results[0] == results[1]
    assert metrics["test/acc"] < 1
    kept = tmp_path / "run" / "embeddings"
    again, _ = evaluate(
        eval_config(
            f"datamodule.data_dir={kept}", "datamodule=embeddings", "ckpt_path=null", "logger=none"
        )
    )
    assert again == metrics


def test_the_columns_of_open_metric_learning(prepared_data: Path, tmp_path: Path) -> None:
    table = describe(prepared_data)
    table["path"] = [str(prepared_data / path) for path in table["path"]]
    table.to_csv(tmp_path / "own.csv", index=False)
    is_test = table["set"].isin(["reference", "query"])
    foreign = pd.DataFrame(
        {
            "label": table["identity"],
            "path": table["path"],
            "split": is_test.map({True: "validation", False: "train"}),
            "is_query": (table["set"] == "query").where(is_test, None),
            "is_gallery": (table["set"] == "reference").where(is_test, None),
        }
    )
    foreign.to_csv(tmp_path / "foreign.csv", index=False)
    foreign.to_parquet(tmp_path / "foreign.parquet")
    own = listing(tmp_path / "own.csv")
    for suffix in ("csv", "parquet"):
        found = listing(tmp_path / f"foreign.{suffix}")
        assert found.inspection.digest == own.inspection.digest
        assert [i.path for i in found.query_set.images] == [i.path for i in own.query_set.images]
