"""The cumulative match characteristic as numbers."""

from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import pandas as pd

LAST_RANK = 50
"""The last rank of curves."""


class CumulativeMatch(NamedTuple):
    """At which ranks queries find their identity.

    Attributes:
        ranks: of the first right reference of each query that has one, ascending.
        queries: their number, and that of those without one if all references count.
        across_cameras: whether only references by other cameras count.
    """

    ranks: npt.NDArray[np.int64]
    queries: int
    across_cameras: bool

    def shares(self, last: int) -> npt.NDArray[np.float64]:
        """Return the shares of queries with a right reference among the first 1 to `last`."""
        within = np.searchsorted(self.ranks, np.arange(1, last + 1), side="right")
        return within / self.queries


def find_matches(predictions: pd.DataFrame) -> CumulativeMatch:
    """Find the ranks of the first right references.

    They are those of queries that have a reference of their identity from another camera, without
    references of the same identity and camera, as is usual for Market-1501. If no query has one
    (no camera is known), all queries and all references count.

    Args:
        predictions: as `tabulate_predictions` describes them.
    """
    across_cameras = bool(predictions["cross_camera_rank"].notna().any())
    column = "cross_camera_rank" if across_cameras else "first_match_rank"
    ranks = np.sort(predictions[column].dropna().to_numpy(np.int64))
    queries = len(ranks) if across_cameras else len(predictions)
    return CumulativeMatch(ranks, queries, across_cameras)
