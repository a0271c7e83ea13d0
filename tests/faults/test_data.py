"""Images, their folders, and the tables that list them."""

import json
import shutil
from collections.abc import Callable

from src.report.evaluation_folder import read_evaluation
from tests.conftest import save_image
from tests.faults.fault import Case, Fault, Faults
from tests.helpers import only_run

FAULTS = Faults("Images")


@FAULTS.add(
    "An image is in `reference` and in `query`",
    "Warning           1 of <n> queries have the same content as a reference, so that any network "
    "finds it. The first: <query> and <reference>.",
    code=0,
)
def _(case: Case) -> None:
    shutil.copy(case.image("reference"), case.image("query"))


@FAULTS.add(
    "`query` is a link to images of `reference`",
    "Warning           2 of <n> queries have the same content as a reference, so that any network "
    "finds it. The first: <query> and <reference>.",
    code=0,
)
def _(case: Case) -> None:
    folder = case.image("query").parent
    shutil.rmtree(folder)
    folder.symlink_to(case.data / "reference" / folder.name)


@FAULTS.add(
    "An image is in a set twice, under two identities",
    "Warning           1 of 15 images have the same content as one of another identity. "
    "The first: <image> and <image>.",
    code=0,
)
def _(case: Case) -> None:
    image = case.image("reference")
    shutil.copy(image, case.data / "reference" / "0011")


@FAULTS.add(
    "An image of `train` is in a test set",
    "Warning           1 of 14 images of the test sets have the same content as one of `train`. "
    "The first: <image> and <image>.",
    code=0,
)
def _(case: Case) -> None:
    shutil.copy(case.image("train"), case.image("query"))


@FAULTS.add(
    "An identity of `train` is in a test set",
    "Warning           1 of 4 identities of the test sets are in `train`, too, where a network may "
    "have seen them. The first: 0007.",
    code=0,
)
def _(case: Case) -> None:
    (case.data / "train" / "0003").rename(case.data / "train" / "0007")


@FAULTS.add(
    "The identities of `query` have lost their leading zeros",
    "Warning           No identity of `query` (such as '11') is among those of `reference` (such "
    "as '0002'): every query counts as wrong.",
    code=0,
)
def _(case: Case) -> None:
    lose_zeros(case)


@FAULTS.add(
    "Identities differ only by leading zeros",
    "Warning           Identities that differ only by case, Unicode form, blanks or leading zeros "
    "count as different people. Pairs of them: 3. The first: '0005' and '5'.",
    code=0,
)
def _(case: Case) -> None:
    lose_zeros(case)


def lose_zeros(case: Case) -> None:
    for folder in list((case.data / "query").iterdir()):
        folder.rename(folder.with_name(folder.name.lstrip("0")))


def rename(case: Case, old: str, new: tuple[str, str]) -> None:
    """Give an identity one name in `reference` and another in `query`."""
    for name, identity in zip(("reference", "query"), new, strict=True):
        (case.data / name / old).rename(case.data / name / identity)


for kind, names, shown in [
    ("case", ("Anna", "anna"), "'Anna' and 'anna'"),
    ("blanks", ("anna b", "anna  b"), "'anna  b' and 'anna b'"),
    ("their Unicode form", ("J\xe9r", "Je\u0301r"), "'Je\\u0301r' and 'J\\xe9r'"),
]:

    @FAULTS.add(
        f"Identities differ only by {kind}",
        f"count as different people. Pairs of them: 1. The first: {shown}.",
        code=0,
    )
    def _(case: Case, names: tuple[str, str] = names) -> None:
        rename(case, "0005", names)


@FAULTS.add(
    "A file in a set is no image by its name",
    "Not read: 1 files and folders that are no images by their names, the first <file>",
    code=0,
)
def _(case: Case) -> None:
    case.image("query").rename(case.data / "query" / "notes.gif")


@FAULTS.add(
    "Images are nested too deep",
    "Left out          1 files and folders that are no images by their names, the first <folder>",
    code=0,
)
def _(case: Case) -> None:
    image = case.image("reference")
    (image.parent / "more").mkdir()
    image.rename(image.parent / "more" / image.name)


@FAULTS.add(
    "Images are hidden, as on a Mac", "Left out          1 hidden files and folders, <file>", code=0
)
def _(case: Case) -> None:
    image = case.image("query")
    shutil.copy(image, image.with_name(f"._{image.name}"))


@FAULTS.add(
    "Images are marked as junk", "Left out          1 junk images (identity -1), <file>", code=0
)
def _(case: Case) -> None:
    save_image(case.data / "reference" / "-1" / "-1_c1s1_000001_01.jpg", 1)


@FAULTS.add(
    "Images are marked as distractors",
    "Left out          1 distractors (identity 0000), <file>",
    code=0,
)
def _(case: Case) -> None:
    save_image(case.data / "reference" / "0000" / "0000_c1s1_000001_01.jpg", 1)


@FAULTS.add(
    "An image lies beside the folders of the identities",
    "<image> should be in a folder that is named after its identity",
)
def _(case: Case) -> None:
    case.image("query").rename(case.data / "query" / "loose.jpg")


@FAULTS.add(
    "An identity is a dangling link", "<folder> should be a file or a folder, is its link broken?"
)
def _(case: Case) -> None:
    folder = case.image("query").parent
    shutil.rmtree(folder)
    folder.symlink_to("nowhere")


@FAULTS.add(
    "An image is a dangling link", "<image> should be a file or a folder, is its link broken?"
)
def _(case: Case) -> None:
    image = case.image("query")
    image.unlink()
    image.symlink_to("nowhere.jpg")


@FAULTS.add("An identity is a link to itself", "Too many levels of symbolic links: '<folder>'")
def _(case: Case) -> None:
    folder = case.image("query").parent
    shutil.rmtree(folder)
    folder.symlink_to(folder)


@FAULTS.add("There is no data", "No data in <folder>: expected the folders `reference` and `query`")
def _(case: Case) -> list[str]:
    return ["datamodule.data_dir=nowhere"]


@FAULTS.add(
    "There is neither data nor a checkpoint",
    "No data in <folder>\nNo checkpoint at nowhere.ckpt\n\nEither unpack Market-1501 into "
    "nowhere and "
    "put the checkpoint at nowhere.ckpt",
)
def _(case: Case) -> list[str]:
    return ["datamodule.data_dir=nowhere", "ckpt_path=nowhere.ckpt"]


@FAULTS.add("There is no `query`", "No folder <folder>, which should hold images")
def _(case: Case) -> None:
    shutil.rmtree(case.data / "query")


@FAULTS.add("A set is empty", "<folder> should hold images of the set `query`, found none")
def _(case: Case) -> None:
    shutil.rmtree(case.data / "query")
    (case.data / "query" / "0005").mkdir(parents=True)


@FAULTS.add(
    "Data is there in two layouts",
    "<folder> should be in one layout, but has `bounding_box_test` and `reference`: move one of "
    "them away",
)
def _(case: Case) -> None:
    (case.data / "bounding_box_test").mkdir()


@FAULTS.add(
    "A name in the official layout is another",
    "holiday.jpg should be named like 0001_c1s1_001051_00.jpg, as everything in the layout of "
    "Market-1501",
)
def _(case: Case) -> list[str]:
    official = case.folder / "official"
    save_image(official / "bounding_box_test" / "0001_c1s1_001051_00.jpg", 1)
    save_image(official / "query" / "holiday.jpg", 1)
    return [f"datamodule.data_dir={official}"]


@FAULTS.add(
    "There are no distractors to keep",
    "<folder> should hold distractors (0000_c...) in `reference`, found none",
)
def _(case: Case) -> list[str]:
    return ["datamodule.distractors=true"]


@FAULTS.add(
    "An image is text",
    "1 of 14 files cannot be read as an image; delete or restore them. The first:\n  <image>",
)
def _(case: Case) -> None:
    case.image("query").write_text("something else")


@FAULTS.add("An image is empty", "1 of 14 files cannot be read as an image; delete or restore them")
def _(case: Case) -> None:
    case.image("query").write_bytes(b"")


@FAULTS.add("An image is cut off", "Cannot read the image <image>: ")
def _(case: Case) -> None:
    image = case.image("query")
    image.write_bytes(image.read_bytes()[:-300])


@FAULTS.add("An image is cut off and a worker reads it", "Cannot read the image <image>: ")
def _(case: Case) -> list[str]:
    image = case.image("query")
    image.write_bytes(image.read_bytes()[:-300])
    return ["datamodule.num_workers=1"]


@FAULTS.add(
    "A process that reads training images is killed, as for want of memory",
    "Error: A process that reads images was killed, probably for want of memory. Fewer "
    "`datamodule.num_workers` need less; with 0 there are none. (DataLoader worker (pid <number>) "
    "is killed by signal: Killed.)",
    task="train",
)
def _(case: Case) -> list[str]:
    killer = "tests.faults.killed_worker.KilledWorker"
    return ["datamodule.num_workers=2", f"+callbacks.killer._target_={killer}"]


@FAULTS.add(
    "Images have another size",
    "Warning           1 of 14 images are not 128 x 64 pixels (height x width) and are resized.",
    code=0,
)
def _(case: Case) -> None:
    save_image(case.image("query"), 1, size=(32, 64))


@FAULTS.add(
    "A query has an identity that no reference has", "1 of 5 queries have an identity", code=0
)
def _(case: Case) -> None:
    (case.data / "query" / "0011").rename(case.data / "query" / "0099")


@FAULTS.add("A name is not in UTF-8", "<folder> should have a name in UTF-8")
def _(case: Case) -> None:
    (case.data / "query" / "J\udce9r").mkdir()


@FAULTS.parametrize()
def test_fault(fault: Fault, provoke: Callable[[Fault], str]) -> None:
    provoke(fault)


def test_a_warning_is_wherever_the_number_is(
    case: Case, provoke: Callable[[Fault], str], mlflow_uri: str
) -> None:
    def spoil(case: Case) -> list[str]:
        shutil.copy(case.image("reference"), case.image("query"))
        save_image(case.data / "query" / "-1" / "-1_c1s1_000001_01.jpg", 1)
        report = ["callbacks=default", "analysis.pictures=false", "embeddings.keep=false"]
        return [*report, "logger=mlflow", f"logger.mlflow.tracking_uri={mlflow_uri}"]

    sentence = "1 of 5 queries have the same content as a reference"
    provoke(Fault("", sentence, spoil, code=0))
    folder = case.folder / "run"
    written = json.loads((folder / "result.json").read_text())
    assert sentence in written["provenance"]["remarks"]["equal_images"]
    junk = case.data / "query" / "-1" / "-1_c1s1_000001_01.jpg"
    left_out = {"reason": "junk images (identity -1)", "files": 1, "first": str(junk)}
    assert written["provenance"]["left_out"] == [left_out]
    assert read_evaluation(folder).provenance.left_out[0].files == 1
    page = (folder / "report.html").read_text()
    assert sentence in page
    assert f"1 junk images (identity -1), the first {junk}" in page
    assert sentence in only_run(mlflow_uri).data.tags["warning_equal_images"]
