"""Who is this, if it may be nobody known? Thresholds on the nearest similarity of every query."""

from jaxtyping import Bool, Float64
from torch import Tensor

from .working_points import WorkingPoint

FALSE_POSITIVES_ONE_IN = (10, 100)


def find_open_set_points(
    similarity: Float64[Tensor, " Q"], is_right: Bool[Tensor, " Q"], is_known: Bool[Tensor, " Q"]
) -> tuple[WorkingPoint, ...]:
    r"""Find the thresholds that few unknown people exceed.

    A query of somebody whom no reference shows should not be answered. With a threshold :math:`t`,

    .. math::
        \text{FPIR}(t) &= \frac{\#\{\text{unknown, similarity} > t\}}{\#\{\text{unknown}\}} \\
        \text{TPIR}(t) &= \frac{\#\{\text{known, right, similarity} > t\}}{\#\{\text{known}\}}

    (false and true positive identification rate: Grother and Ngan, "Face Recognition Vendor Test:
    Performance of Face Identification Algorithms", NIST IR 8009, 2014).

    Args:
        similarity: of each query to its nearest reference.
        is_right: whether that has the query's identity.
        is_known: whether any reference has it.

    Returns:
        A point for each of `FALSE_POSITIVES_ONE_IN`, except where known queries are missing or the
        rate is below one unknown query.
    """
    unknown = similarity[~is_known].sort(descending=True).values
    genuine, impostors = int(is_known.sum()), len(unknown)
    points = []
    for one_in in FALSE_POSITIVES_ONE_IN:
        if genuine and impostors >= one_in:
            threshold = unknown[impostors // one_in]
            accepted = is_right & is_known & (similarity > threshold)
            points.append(
                WorkingPoint(
                    one_in=one_in,
                    threshold=float(threshold),
                    accepted=int(accepted.sum()),
                    genuine=genuine,
                    false_accepts=int((unknown > threshold).sum()),
                    impostors=impostors,
                )
            )
    return tuple(points)
