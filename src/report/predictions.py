"""What became of every query, as a table."""

from collections.abc import Iterable

import pandas as pd
from torch import Tensor

from src.exact_retrieval.retrieval.measures import Measured
from src.exact_retrieval.retrieval.retrieval import Retrieval


def tabulate_predictions(
    retrieval: Retrieval,
    measured: Iterable[Measured],
    *,
    query: pd.DataFrame,
    reference: pd.DataFrame,
) -> pd.DataFrame:
    """Tabulate a retrieval under the names of the images.

    Args:
        retrieval: what the search knows of every query.
        measured: the measures that get a column.
        query: path (str, relative to the data folder, with "/"), identity (str) and camera (Int64,
            null where unknown) of the images that `retrieval.query_index` counts in.
        reference: likewise, of those that indices of references count in.

    Returns:
        One row for each query, in ascending order of index, with the columns

        - path, identity, camera: of the query;
        - nearest_path, nearest_identity, nearest_camera: of its nearest reference;
        - similarity (float64): of the two; negative squared distance for euclidean;
        - margin (float64): greatest similarity to a reference of the query's identity minus the
          greatest to one of another; NaN where either is missing;
        - first_match_rank (Int64): of the first reference of the identity; null without one;
        - correct (bool): whether the nearest reference has the identity;
        - cross_camera_rank (Int64): as first_match_rank, without the references of the query's
          identity and camera; null without a match;
        - average_precision (float64): among the same references; NaN without a match;
        - neighbor_path, neighbor_identity, neighbor_camera, neighbor_similarity: lists of the k
          nearest references, the nearest first; None for an unknown camera;
        - one of float64 under the name of each measure: the values that it is the mean of; NaN
          outside its denominator.
    """
    found = retrieval.nearest
    index, similarity = found.index.cpu().numpy(), found.similarity.cpu().numpy()
    queries = query.iloc[retrieval.query_index.cpu().numpy()].reset_index(drop=True)
    nearest = reference.reset_index(drop=True).reindex(index[:, 0])
    table = {
        **queries,
        **{f"nearest_{name}": nearest[name].array for name in queries},
        "similarity": similarity[:, 0],
        "margin": retrieval.margin.cpu().numpy(),
        "first_match_rank": _rank_column(retrieval.matches.first),
        "correct": (found.label[:, 0] == retrieval.query_label).cpu().numpy(),
        "cross_camera_rank": _rank_column(retrieval.cross_camera.first),
        "average_precision": retrieval.cross_camera.average_precision.cpu().numpy(),
    }
    lengths = (index >= 0).sum(axis=1)
    near = reference.take(index.ravel())  # the place of -1 is cut off below
    neighbors = {
        name: near[name].to_numpy(object, na_value=None).reshape(index.shape) for name in queries
    }
    for name, rows in {**neighbors, "similarity": similarity}.items():
        table[f"neighbor_{name}"] = [
            row[:length].tolist() for row, length in zip(rows, lengths, strict=True)
        ]
    return pd.DataFrame(table | {each.measure.name: each.values.cpu().numpy() for each in measured})


def _rank_column(rank: Tensor) -> pd.api.extensions.ExtensionArray:
    """Write a missing rank, 0, as null."""
    ranks = rank.cpu().numpy()
    return pd.arrays.IntegerArray(ranks, ranks == 0)
