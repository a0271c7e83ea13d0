"""Thresholds in the words of people who have to choose one."""

from typing import NamedTuple

from src.exact_retrieval.retrieval.working_points import WorkingPoint
from src.report.evaluation import Evaluation
from src.report.wording import percent


class Threshold(NamedTuple):
    """A threshold on the similarity, and what comes of it.

    Attributes:
        errors: those that it allows.
        accepted: the share of genuine ones that are above it.
        similarity: of the threshold itself.
    """

    errors: str
    accepted: str
    similarity: float

    def __str__(self) -> str:
        return f"at {self.errors}, {self.accepted} are above {self.similarity:.4g}"


def verification_thresholds(evaluation: Evaluation) -> list[Threshold]:
    """List the thresholds on pairs, the lowest first."""
    points, equal = evaluation.verification
    thresholds = [_threshold(point, "false accept", "true pairs") for point in points]
    if equal is not None:
        errors, accepted = percent(equal.rate), percent(1 - equal.rate)
        thresholds.append(
            Threshold(
                f"equal error rates of {errors}", f"{accepted} of true pairs", equal.threshold
            )
        )
    return sorted(thresholds, key=lambda each: each.similarity)


def open_set_thresholds(evaluation: Evaluation) -> list[Threshold]:
    """List the thresholds on the nearest similarity, the lowest first."""
    return [_threshold(point, "stranger named", "known people") for point in evaluation.open_set]


def _threshold(point: WorkingPoint, error: str, genuine: str) -> Threshold:
    accepted = f"{percent(point.rate)} of {genuine}"
    return Threshold(f"1 {error} in {point.one_in:,}", accepted, point.threshold)
