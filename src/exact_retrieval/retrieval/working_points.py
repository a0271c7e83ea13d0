"""Thresholds that few impostors exceed."""

import math
from dataclasses import dataclass


@dataclass(frozen=True)
class WorkingPoint:
    """The lowest threshold that at most a given share of impostors exceeds.

    What is more similar than the threshold is accepted; what ties with it is not.

    Attributes:
        one_in: the share is one in so many; a power of 10.
        threshold: similarity of an impostor.
        accepted: number of genuine ones that are accepted and, where there is a choice, right.
        genuine: number of all of them.
        false_accepts: number of impostors above the threshold.
        impostors: number of all of them, at least `one_in`.
    """

    one_in: int
    threshold: float
    accepted: int
    genuine: int
    false_accepts: int
    impostors: int

    @property
    def rate(self) -> float:
        """The share of genuine ones that are accepted."""
        return self.accepted / self.genuine

    @property
    def false_rate(self) -> float:
        """The share of impostors that are accepted."""
        return self.false_accepts / self.impostors


def share_name(one_in: int) -> str:
    """Write a share of one in a power of 10 as names of measures have it, such as "1e-3"."""
    return f"1e-{round(math.log10(one_in))}"
