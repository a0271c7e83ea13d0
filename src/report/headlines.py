"""The numbers that every account of an evaluation leads with, and what they mean."""

from typing import NamedTuple

from src.report.evaluation import Estimate, Evaluation

_HEADLINES = {
    "acc": ("1-NN accuracy", "the nearest of all references has the same identity"),
    "rank1": ("rank-1", "the same without its images by the query's own camera"),
    "mAP": ("mAP", "how early all its images by other cameras come"),
}


class Headline(NamedTuple):
    """A number to lead with.

    Attributes:
        name: as people call it.
        estimate: the number.
        meaning: in a few words.
    """

    name: str
    estimate: Estimate
    meaning: str


def headlines(evaluation: Evaluation) -> list[Headline]:
    """Return the numbers that an evaluation has: accuracy, and across cameras rank-1 and mAP."""
    return [
        Headline(name, estimate, meaning)
        for measure, (name, meaning) in _HEADLINES.items()
        if (estimate := evaluation.estimate(measure)) is not None
    ]


def sum_up(evaluation: Evaluation) -> str:
    """Say in two sentences what came out, or what is missing."""
    accuracy, *across_cameras = headlines(evaluation)
    right = int(evaluation.predictions["correct"].sum())
    first = (
        f"The nearest reference has the right identity for {right:,} of "
        f"{accuracy.estimate.size:,} queries: {accuracy.name} {accuracy.estimate}."
    )
    if not across_cameras:
        return " ".join([first, *evaluation.omissions])
    numbers = " and ".join(f"{each.name} {each.estimate}" for each in across_cameras)
    return f"{first} Across cameras: {numbers}."
