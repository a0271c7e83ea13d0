"""What became of every query, as tables."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pandas as pd


@dataclass(frozen=True)
class SimilarityHistogram:
    """How similar queries are to references of their own and of other identities.

    Attributes:
        edges: float64 [n + 1], ascending bounds of the bins.
        same: int64 [n], pairs of one identity.
        different: int64 [n], pairs of two identities.
    """

    edges: npt.NDArray[np.float64]
    same: npt.NDArray[np.int64]
    different: npt.NDArray[np.int64]


@dataclass(frozen=True)
class Outcomes:
    """Every query's outcome.

    Attributes:
        predictions: one row for each query, in sorted order of path, as `predictions.parquet`:

            - path (str, relative to the data folder, with "/"), identity (str), camera (Int64, null
              where unknown): the query;
            - nearest_path, nearest_identity, nearest_camera: its nearest reference, likewise;
            - similarity (float64): of the two; negative squared distance for euclidean;
            - margin (float64): the greatest similarity to a reference of the query's identity minus
              the greatest to one of another; NaN where either lacks;
            - first_match_rank (Int64): 1 for the nearest reference; null where no reference has the
              identity;
            - correct (bool): whether the nearest reference has the identity;
            - cross_camera_rank (Int64): as first_match_rank, without references of the same
              identity and camera; null where none is left;
            - average_precision (float64): over the same references; NaN where none is left.
        neighbors: the nearest references of each query, up to five: query (int64, the row in
            `predictions`), place (int64, from 1), path, identity, camera, similarity.
        similarities: of all pairs.
        distance: what similarities are by, "cosine" or "euclidean".
    """

    predictions: pd.DataFrame
    neighbors: pd.DataFrame
    similarities: SimilarityHistogram
    distance: str
