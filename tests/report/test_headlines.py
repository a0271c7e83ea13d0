from dataclasses import replace

from src.report.evaluation import Evaluation
from src.report.headlines import headlines, sum_up
from tests.report.evaluations import evaluation_of, make_evaluation, make_predictions


def test_the_accuracy_comes_first_and_what_is_missing_does_not_come() -> None:
    predictions = make_evaluation().predictions
    full = evaluation_of(predictions.assign(rank1=predictions["acc"]))
    assert [each.name for each in headlines(full)] == ["1-NN accuracy", "rank-1", "mAP"]
    alone = evaluation_of(make_predictions([True, False]).assign(acc=[1.0, 0.0]))
    assert [(each.name, each.estimate.value) for each in headlines(alone)] == [
        ("1-NN accuracy", 0.5)
    ]


def test_two_sentences(evaluation: Evaluation) -> None:
    accuracy, precision = evaluation.estimates
    changed = replace(
        evaluation,
        estimates=(replace(accuracy, interval=(0.61, 0.8)), replace(precision, value=0.5)),
    )
    right = int(evaluation.predictions["correct"].sum())
    first = (
        f"The nearest reference has the right identity for {right} of 40 queries: "
        f"1-NN accuracy {accuracy.value:.5f} [0.610, 0.800]."
    )
    assert sum_up(changed) == f"{first} Across cameras: mAP 0.50000."
    why = "mAP is not computed: there are no queries with a match by another camera."
    alone = replace(changed, estimates=changed.estimates[:1], omissions=(why,))
    assert sum_up(alone) == f"{first} {why}"
