from dataclasses import replace
from io import StringIO
from pathlib import Path

from rich.console import Console

from src.exact_retrieval.retrieval.verification import NO_THRESHOLDS
from src.exact_retrieval.retrieval.working_points import WorkingPoint
from src.report.console import print_evaluation, print_recording
from src.report.evaluation import Evaluation
from src.report.wording import percent
from tests.report.evaluations import evaluation_of, make_evaluation


def printed(evaluation: Evaluation) -> list[str]:
    console = Console(file=StringIO(), width=80)
    print_evaluation(console, evaluation)
    return console.file.getvalue().splitlines()  # type: ignore[attr-defined]


def test_one_row_for_each_measure(evaluation: Evaluation) -> None:
    right = int(evaluation.predictions["correct"].sum())
    accuracy, precision = evaluation.estimates
    estimates = (replace(accuracy, interval=(0.5, 0.8)), precision)
    evaluation = replace(evaluation, verification=NO_THRESHOLDS)
    lines = printed(replace(evaluation, estimates=estimates, confidence=0.9))
    rows = [[cell.strip() for cell in line.split("│")[1:-1]] for line in lines if "│" in line]
    first, second = (f"{each.value:.5f}" for each in (accuracy, precision))
    assert lines[:2] == [
        f"1-NN accuracy     {first}  the nearest of all references has the same identity",
        f"mAP               {second}  how early all its images by other cameras come",
    ]
    assert rows == [
        ["reference", "750 identities", "13,115 images"],
        ["query", "6 identities", "40 images"],
        ["test/acc", f"{accuracy.value:.5f} [0.500, 0.800]", f"{right} of 40 by cosine"],
        ["test/mAP", f"{precision.value:.5f}", "mean average precision"],
    ]
    assert sum("┼" in line for line in lines) == 2  # each denominator has a section
    assert "[low, high]       90 % interval, had other people been in the test" in lines
    warning = "All intervals rest on fewer than 10 identities: they are not reliable."
    assert f"Few identities    {warning}" in lines
    assert lines[-1] == "Checkpoint        models/epoch_120.ckpt"


def test_a_large_set_fits_eighty_columns() -> None:
    """No cell is broken, though all columns have their greatest width."""
    few = make_evaluation(queries=9999).predictions
    predictions = few.assign(acc_euclidean=few["acc"], knn_acc=few["acc"], mINP=few["mAP"])
    again = {
        f"reranked_{name}": few[of]
        for name, of in (("acc", "acc"), ("rank1", "acc"), ("mAP", "mAP"))
    }
    predictions = predictions.assign(**again)
    ranks = {f"rank{k}": (few["cross_camera_rank"] <= k).astype(float) for k in (1, 5, 10)}
    pairs = {"tar_far_1e-4": few["mAP"], "matches": 9}
    evaluation = evaluation_of(predictions.assign(map_all=few["mAP"], **ranks, **pairs))
    lines = printed(evaluation.with_intervals(confidence=0.95))
    rows = [line for line in lines if "test/" in line]
    assert len(rows) == 13 == sum(" 9,999 by " in row or "[" in row for row in rows)
    assert sum("│" in line for line in lines) == len(rows) + 2


def test_working_points(evaluation: Evaluation) -> None:
    lines = printed(replace(evaluation, open_set=(WorkingPoint(100, -12345.6, 3, 4, 1, 150),)))
    rows = [
        [cell.strip() for cell in line.split("│")[1:-1]] for line in lines if " of true " in line
    ]
    points = evaluation.verification.points
    assert rows[1:] == [
        [
            f"1 false accept in {point.one_in:,}",
            f"{percent(point.rate)} of true pairs",
            f"{point.threshold:.4g}",
        ]
        for point in points
    ]
    assert rows[0][0].startswith("equal error rates of ")
    (known,) = [line for line in lines if "known people" in line]
    assert "1 stranger named in 100" in known
    assert f"{percent(0.75)} of known people" in known
    assert "-1.235e+04" in known
    assert not any("known people" in line for line in printed(evaluation))


def test_headlines_fit_eighty_columns(evaluation: Evaluation) -> None:
    few = evaluation.predictions
    lines = printed(evaluation_of(few.assign(rank1=few["acc"])))
    assert [line.split("  ")[0] for line in lines[:3]] == ["1-NN accuracy", "rank-1", "mAP"]
    assert max(map(len, lines[:3])) <= 80


def test_why_measures_are_missing(evaluation: Evaluation) -> None:
    omission = "mAP is not computed: there are no queries [by] another camera."
    assert omission in printed(replace(evaluation, omissions=(omission,)))


def test_random_weights_without_intervals(evaluation: Evaluation) -> None:
    provenance = replace(evaluation.provenance, checkpoint=None, notice="Drawn by code")
    lines = printed(replace(evaluation, provenance=provenance))
    assert "Drawn by code" in lines[1]
    assert not any("interval" in line for line in lines)
    assert lines[-1] == "Checkpoint        none: random weights"


def test_recording() -> None:
    console = Console(file=StringIO(), width=80)
    files = [Path("a/result.json"), Path("a/" + "long" * 30)]
    print_recording(console, files, ["mlflow ui [x]"], ["MLFlowLogger: no [server]"])
    assert console.file.getvalue().splitlines() == [  # type: ignore[attr-defined]
        "Written to        a/result.json",
        f"                  {files[1]}",
        "Open in MLflow    mlflow ui [x]",
        "NOT recorded: MLFlowLogger: no [server]",
    ]
