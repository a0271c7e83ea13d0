"""Evaluations that cannot be compared."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from src.report.evaluation import SetSize
from src.report.evaluation_folder import PREDICTIONS_FILE, RESULT_FILE
from tests.faults.fault import Case, Fault, Faults, Provoke
from tests.report.evaluations import make_predictions, write_evaluation

FAULTS = Faults("Comparisons")

RIGHT = [True, True, False, True, False, True]
CANDIDATE = "`candidate` should be the folder of an evaluation, <text> got <folder>: "


def evaluations(predictions: pd.DataFrame | None = None, **changes: Any) -> Provoke:
    """Compare an evaluation with one that has other predictions or another provenance."""

    def provoke(case: Case) -> list[str]:
        sound = make_predictions(RIGHT).assign(acc=np.asarray(RIGHT, float))
        write_evaluation(case.folder / "a", sound)
        write_evaluation(
            case.folder / "b", sound if predictions is None else predictions, **changes
        )
        return [f"baseline={case.folder / 'a'}", f"candidate={case.folder / 'b'}"]

    return provoke


def spoilt(spoil: Callable[[Path], object]) -> Provoke:
    """Compare an evaluation with one whose folder was changed afterwards."""

    def provoke(case: Case) -> list[str]:
        options = list(evaluations()(case) or ())
        spoil(case.folder / "b")
        return options

    return provoke


def predicted(**columns: Any) -> Callable[[Path], object]:
    """Change columns of the predictions, but not the result beside them."""

    def spoil(folder: Path) -> None:
        file = folder / PREDICTIONS_FILE
        pd.read_parquet(file).assign(**columns).to_parquet(file)

    return spoil


def resulted(**values: Any) -> Callable[[Path], object]:
    """Change the result, but not the predictions."""

    def spoil(folder: Path) -> None:
        result = json.loads((folder / RESULT_FILE).read_text())
        (folder / RESULT_FILE).write_text(json.dumps(result | values))

    return spoil


ROWS: list[tuple[str, str, Provoke]] = [
    *(
        (
            f"{file} is missing",
            f"{CANDIDATE}{file} is missing: python eval.py ckpt_path=<file> writes",
            spoilt(lambda folder, file=file: (folder / file).unlink()),
        )
        for file in (RESULT_FILE, PREDICTIONS_FILE)
    ),
    *(
        (
            f"{file} is damaged",
            CANDIDATE,
            spoilt(lambda folder, file=file: (folder / file).write_text("{")),
        )
        for file in (RESULT_FILE, PREDICTIONS_FILE)
    ),
    (
        "A result is a list",
        f"{CANDIDATE}result.json should be a result of an evaluation",
        spoilt(lambda folder: (folder / RESULT_FILE).write_text("[1]")),
    ),
    (
        "A result has no metrics",
        f"{CANDIDATE}result.json should be a result of an evaluation",
        spoilt(resulted(metrics=None)),
    ),
    (
        "Predictions lack a column",
        f"{CANDIDATE}predictions.parquet should have the columns <names>, got none of ['correct']",
        evaluations(make_predictions(RIGHT).drop(columns="correct")),
    ),
    (
        "Predictions are empty",
        f"{CANDIDATE}predictions.parquet should have one row for each query, got 0 rows for 0 "
        f"paths",
        evaluations(make_predictions(RIGHT).iloc[[]]),
    ),
    (
        "A query is predicted twice",
        f"{CANDIDATE}predictions.parquet should have one row for each query, got 3 rows for 2 "
        f"paths",
        evaluations(make_predictions(RIGHT).iloc[[0, 1, 1]]),
    ),
    (
        "Predictions are text",
        f"{CANDIDATE}predictions.parquet should have true or false in `correct`, got <kind>",
        spoilt(predicted(correct="true")),
    ),
    (
        "Predictions are numbers",
        "predictions.parquet should have true or false in `correct`, got int64",
        spoilt(predicted(correct=2)),
    ),
    (
        "Predictions are NaN",
        "predictions.parquet should have true or false in `correct`, got float64",
        spoilt(predicted(correct=np.nan)),
    ),
    (
        "A prediction is missing",
        "predictions.parquet should have true or false in `correct`, got object",
        spoilt(predicted(correct=[True, None, True, True, True, False])),
    ),
    (
        "Similarities are text",
        "predictions.parquet should have numbers in `similarity`, got <kind>",
        spoilt(predicted(similarity="high")),
    ),
    (
        "Predictions are of another evaluation than the result",
        f"{CANDIDATE}predictions.parquet should belong to result.json beside it, where test/acc is "
        "0.66667, but the mean of `correct` is 1.00000",
        spoilt(predicted(correct=True)),
    ),
    (
        "Data of two evaluations differ",
        "`candidate` should be evaluated on the data of `baseline`, the data differ:\n"
        "  dataset_digest: <digest> in the baseline, <digest> in the candidate\n"
        "  query_images: 40 in the baseline, 7 in the candidate",
        evaluations(dataset_digest="f" * 64, query=SetSize(6, 7)),
    ),
    (
        "Paths of two evaluations differ",
        "the images are the same, but under other paths, as in another layout:\n",
        evaluations(make_predictions(RIGHT).assign(path=[f"{row}.jpg" for row in range(6)])),
    ),
]
for name, shown, provocation in ROWS:
    FAULTS.add(name, shown, task="compare")(provocation)


@FAULTS.add(
    "An evaluation does not say its data",
    f"{CANDIDATE}result.json has no 'dataset_digest'",
    task="compare",
)
def _(case: Case) -> list[str]:
    def forget(folder: Path) -> None:
        result = json.loads((folder / RESULT_FILE).read_text())
        del result["provenance"], result["tags"]["dataset_digest"]
        (folder / RESULT_FILE).write_text(json.dumps(result))

    return list(spoilt(forget)(case) or ())


@FAULTS.parametrize()
def test_fault(fault: Fault, provoke: Callable[[Fault], str]) -> None:
    provoke(fault)
