"""What became of every query, as tables."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import pandas as pd
import torch
from torch import Tensor

from src.datamodules.components.image_listing import ImageFile
from src.exact_retrieval.retrieval.match_ranking import MatchRanks
from src.exact_retrieval.retrieval.nearest import NearestReferences
from src.exact_retrieval.retrieval.similarity_histogram import SimilarityHistogram
from src.exact_retrieval.search.scoring import Distance

_NEIGHBORS = 5


class Findings(NamedTuple):
    """What the metrics found about the queries, in ascending order of index.

    Attributes:
        query_index: int64 [Q].
        nearest: the nearest references.
        other: the nearest reference of another identity than the query's, for each query.
        ranks: where references of the query's identity rank.
        cameras_are_known: whether `ranks` means something where it speaks of cameras.
        similarities: of all pairs; None where nobody asked.
        distance: what similarities are by.
    """

    query_index: Tensor
    nearest: NearestReferences
    other: NearestReferences
    ranks: MatchRanks
    cameras_are_known: bool
    similarities: SimilarityHistogram | None
    distance: Distance


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
        neighbors: the nearest references of each query, at most five: query (int64, the row in
            `predictions`), place (int64, from 1), path, identity, camera, similarity.
        similarities: of all pairs; None where nobody asked.
        distance: what similarities are by.
    """

    predictions: pd.DataFrame
    neighbors: pd.DataFrame
    similarities: SimilarityHistogram | None
    distance: Distance


def tabulate(
    findings: Findings,
    *,
    query: Sequence[ImageFile],
    reference: Sequence[ImageFile],
    data_dir: Path,
) -> Outcomes:
    """Put findings and the names of images together.

    Args:
        findings: of the metrics.
        query: the images that `findings.query_index` counts in.
        reference: the images that the indices of references count in.
        data_dir: what paths are to be relative to.
    """
    nearest, ranks = findings.nearest, findings.ranks
    queries = _describe([query[i] for i in findings.query_index.tolist()], data_dir)
    neighbors = _tabulate_neighbors(nearest, reference, data_dir)
    first = neighbors[neighbors["place"] == 1].drop(columns=["query", "place"])
    margin = ranks.similarity - findings.other.similarity[:, 0]
    table = {
        **queries,
        **{f"nearest_{name}": first[name].to_numpy() for name in queries},
        "similarity": first["similarity"].to_numpy(),
        "margin": margin.where(margin.isfinite(), torch.nan).cpu().numpy(),
        "first_match_rank": _rank_column(ranks.first_rank),
        "correct": (nearest.label[:, 0] == nearest.query_label).cpu().numpy(),
    }
    known = findings.cameras_are_known
    cross_camera, precision = ranks.cross_camera_first_rank, ranks.average_precision
    table["cross_camera_rank"] = _rank_column(cross_camera if known else 0 * cross_camera)
    table["average_precision"] = (precision if known else torch.nan * precision).cpu().numpy()
    predictions = pd.DataFrame(table)
    predictions["nearest_camera"] = predictions["nearest_camera"].astype("Int64")
    return Outcomes(predictions, neighbors, findings.similarities, findings.distance)


def _tabulate_neighbors(
    nearest: NearestReferences, reference: Sequence[ImageFile], data_dir: Path
) -> pd.DataFrame:
    query, place = (nearest.index[:, :_NEIGHBORS] >= 0).nonzero(as_tuple=True)
    index = nearest.index[query, place]
    return pd.DataFrame(
        {
            "query": query.cpu().numpy(),
            "place": place.cpu().numpy() + 1,
            **_describe([reference[i] for i in index.tolist()], data_dir),
            "similarity": nearest.similarity[query, place].cpu().numpy(),
        }
    )


def _describe(images: Iterable[ImageFile], data_dir: Path) -> dict[str, Any]:
    """Columns path, identity and camera."""
    rows = [
        (image.path.relative_to(data_dir).as_posix(), image.identity, image.camera)
        for image in images
    ]
    path, identity, camera = zip(*rows, strict=True)
    cameras = pd.array([None if number < 0 else number for number in camera], dtype="Int64")
    return {"path": path, "identity": identity, "camera": cameras}


def _rank_column(rank: Tensor) -> Any:
    return pd.array([number or None for number in rank.tolist()], dtype="Int64")
