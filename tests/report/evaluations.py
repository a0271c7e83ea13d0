"""Evaluations made up for pictures, pages and comparisons."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import torch

from src.exact_retrieval.retrieval.measures import MEASURES
from src.exact_retrieval.retrieval.ranking import SimilarityHistogram
from src.exact_retrieval.retrieval.verification import EqualError, Verification
from src.exact_retrieval.retrieval.working_points import WorkingPoint
from src.report.evaluation import Estimate, Evaluation, Provenance, SetSize
from src.report.evaluation_folder import write_predictions, write_result
from tests.conftest import market_name, save_image
from tests.exact_retrieval import oracle

PROVENANCE = Provenance(
    checkpoint="models/epoch_120.ckpt",
    checkpoint_sha256="c" * 64,
    epoch=120,
    data_dir="/data/market",
    dataset_digest="d" * 64,
    reference=SetSize(750, 13115),
    query=SetSize(6, 40),
    git_commit="0123456789abcdef0123456789abcdef01234567",
    tags=("dev", "test"),
    notice="",
)


def make_evaluation(
    *, identities: int = 6, queries: int = 40, cameras: int = 3, accuracy: float = 0.7
) -> Evaluation:
    """Make up queries of which about `accuracy` are right; without cameras (0) none is known."""
    random = np.random.default_rng(identities + queries)
    people = [f"{number:04}" for number in range(1, identities + 1)]
    rows = []
    for query in range(queries):
        identity = people[query * identities // queries]
        right = bool(random.random() < accuracy) or identities == 1
        camera, nearest_camera = map(int, random.integers(1, cameras + 1, 2) if cameras else (1, 1))
        similarity, margin = random.uniform(0.5, 0.9), random.uniform(0.01, 0.3)
        others = [person for person in people if person != identity]
        names = [identity if right else others[0], *map(str, random.choice(people, 4))]
        paths = [
            f"reference/{name}/{market_name(name, nearest_camera, place)}"
            for place, name in enumerate(names)
        ]
        similarities = [float(similarity) - 0.02 * place for place in range(5)]
        rank = 1 if right else int(random.integers(2, 30))
        is_known = bool(cameras and query % 5)
        rows.append(
            {
                "path": f"query/{identity}/{market_name(identity, camera, query)}",
                "identity": identity,
                "camera": camera if cameras else None,
                "nearest_path": paths[0],
                "nearest_identity": names[0],
                "nearest_camera": nearest_camera if cameras else None,
                "similarity": similarities[0],
                "margin": margin if right else -margin,
                "first_match_rank": rank,
                "correct": right,
                "cross_camera_rank": rank + query % 3 if is_known else None,
                "average_precision": 1 / rank if is_known else np.nan,
                "neighbor_path": paths,
                "neighbor_identity": names,
                "neighbor_camera": [nearest_camera if cameras else None] * 5,
                "neighbor_similarity": similarities,
                "acc": float(right),
                "mAP": 1 / rank if is_known else np.nan,
            }
        )
    integers = ["camera", "nearest_camera", "first_match_rank", "cross_camera_rank"]
    same, different = random.normal(0.7, 0.1, 500), random.normal(0.2, 0.15, 5000)
    evaluation = evaluation_of(
        pd.DataFrame(rows).astype(dict.fromkeys(integers, "Int64")),
        replace(PROVENANCE, query=SetSize(identities, queries)),
        make_histogram(same, different),
    )
    return replace(evaluation, verification=make_verification(same, different))


def evaluation_of(
    predictions: pd.DataFrame,
    provenance: Provenance = PROVENANCE,
    histogram: SimilarityHistogram | None = None,
) -> Evaluation:
    """Make an evaluation of predictions, with an estimate for each measure that has a column."""
    measures = [measure for measure in MEASURES if measure.name in predictions]
    values = {measure: predictions[measure.name].dropna() for measure in measures}
    return Evaluation(
        provenance=provenance,
        estimates=tuple(
            Estimate(measure, float(known.mean()), len(known), None)
            for measure, known in values.items()
            if len(known)
        ),
        counts={measure.denominator: len(known) for measure, known in values.items()},
        predictions=predictions,
        distance="cosine",
        k=5,
        vote="majority",
        histogram=histogram,
    )


def make_predictions(
    correct: Sequence[bool],
    *,
    identities: Sequence[str] | None = None,
    average_precision: Sequence[float] | None = None,
) -> pd.DataFrame:
    """Make up one query for each value of `correct`, three of an identity by default."""
    size = len(correct)
    identity = list(identities or (f"{1 + i // 3:04d}" for i in range(size)))
    found = [name if hit else "0000" for name, hit in zip(identity, correct, strict=True)]
    precision = [np.nan] * size if average_precision is None else average_precision
    return pd.DataFrame(
        {
            "path": [f"query/{name}/{i:03d}.jpg" for i, name in enumerate(identity)],
            "identity": identity,
            "camera": pd.array([1] * size, "Int64"),
            "nearest_path": [f"reference/{name}/{i:03d}.jpg" for i, name in enumerate(found)],
            "nearest_identity": found,
            "nearest_camera": pd.array([2] * size, "Int64"),
            "similarity": np.linspace(0.5, 0.9, size),
            "margin": np.where(correct, 0.1, -0.1),
            "first_match_rank": pd.array(np.where(correct, 1, 2), "Int64"),
            "correct": np.asarray(correct, bool),
            "cross_camera_rank": pd.array(np.where(correct, 1, 2), "Int64"),
            "average_precision": np.asarray(precision, float),
        }
    )


def write_evaluation(folder: Path, predictions: pd.DataFrame, **changes: object) -> Path:
    """Write the folder of an evaluation; keyword arguments change its provenance."""
    evaluation = evaluation_of(predictions, replace(PROVENANCE, **changes))
    write_result(evaluation, folder)
    write_predictions(evaluation, folder)
    return folder


def make_histogram(same: np.ndarray, different: np.ndarray, bins: int = 200) -> SimilarityHistogram:
    """Count cosine similarities."""
    edges = np.linspace(-1, 1, bins + 1)
    counts = [np.histogram(similarities, edges)[0] for similarities in (same, different)]
    return SimilarityHistogram(*map(torch.from_numpy, (edges, *counts)))


def make_verification(same: np.ndarray, different: np.ndarray) -> Verification:
    """Find the thresholds of verification, by the oracle."""
    pairs = same.tolist(), different.tolist()
    points = [
        (one_in, oracle.working_point(*pairs, one_in))
        for one_in in (100, 1000, 10000)
        if len(different) >= one_in
    ]
    return Verification(
        tuple(
            WorkingPoint(
                one_in=one_in,
                threshold=point.threshold,
                accepted=point.accepted,
                genuine=len(same),
                false_accepts=point.false_accepts,
                impostors=len(different),
            )
            for one_in, point in points
        ),
        EqualError(*oracle.equal_error(*pairs)),
    )


def save_images(evaluation: Evaluation, data_dir: Path) -> Evaluation:
    """Write every image that a strip may show; return the evaluation with that folder."""
    predictions = evaluation.predictions
    for path in {*predictions["path"], *predictions["neighbor_path"].explode()}:
        save_image(data_dir / path, path)
    return replace(evaluation, provenance=replace(evaluation.provenance, data_dir=str(data_dir)))
