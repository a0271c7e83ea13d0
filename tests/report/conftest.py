"""Outcomes made up for pictures and pages."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from src.exact_retrieval.retrieval.similarity_histogram import SimilarityHistogram
from src.report.outcomes import Outcomes
from src.report.run_folder import RunResult

from tests.conftest import market_name, save_image


def make_outcomes(
    *, identities: int = 6, queries: int = 40, cameras: int = 3, accuracy: float = 0.7
) -> Outcomes:
    """Outcomes that fit together, of queries of which about `accuracy` are right.

    Without cameras (0) nothing is known across cameras.
    """
    random = np.random.default_rng(identities + queries)
    people = [f"{number:04}" for number in range(1, identities + 1)]
    rows, places = [], []
    for query in range(queries):
        identity = people[query * identities // queries]
        right = bool(random.random() < accuracy) or identities == 1
        camera, nearest_camera = random.integers(1, cameras + 1, 2) if cameras else (1, 1)
        similarity, margin = random.uniform(0.5, 0.9), random.uniform(0.01, 0.3)
        others = [person for person in people if person != identity]
        names = [identity if right else others[0], *random.choice(people, 4)]
        neighbors = [
            (
                query,
                place,
                f"reference/{name}/{market_name(name, nearest_camera, place)}",
                name,
                nearest_camera if cameras else None,
                similarity - 0.02 * place,
            )
            for place, name in enumerate(names, start=1)
        ]
        places += neighbors
        _, _, nearest_path, nearest_identity, _, nearest_similarity = neighbors[0]
        rank = 1 if right else int(random.integers(2, 30))
        rows.append(
            {
                "path": f"query/{identity}/{market_name(identity, camera, query)}",
                "identity": identity,
                "camera": camera if cameras else None,
                "nearest_path": nearest_path,
                "nearest_identity": nearest_identity,
                "nearest_camera": nearest_camera if cameras else None,
                "similarity": nearest_similarity,
                "margin": margin if right else -margin,
                "first_match_rank": rank,
                "correct": right,
                "cross_camera_rank": rank + query % 3 if cameras and query % 5 else None,
                "average_precision": 1 / rank if cameras and query % 5 else np.nan,
            }
        )
    integers = dict.fromkeys(
        ["camera", "nearest_camera", "first_match_rank", "cross_camera_rank"], "Int64"
    )
    columns = ["query", "place", "path", "identity", "camera", "similarity"]
    return Outcomes(
        pd.DataFrame(rows).astype(integers),
        pd.DataFrame(places, columns=columns).astype({"camera": "Int64"}),
        make_histogram(random.normal(0.7, 0.1, 500), random.normal(0.2, 0.15, 5000)),
        "cosine",
    )


def make_histogram(same: np.ndarray, different: np.ndarray, bins: int = 200) -> SimilarityHistogram:
    """Count cosine similarities."""
    edges = np.linspace(-1, 1, bins + 1)
    counts = [np.histogram(similarities, edges)[0] for similarities in (same, different)]
    return SimilarityHistogram(edges, *counts)


def save_images(outcomes: Outcomes, data_dir: Path) -> Path:
    """Write every image that a strip may show."""
    for path in {*outcomes.predictions["path"], *outcomes.neighbors["path"]}:
        save_image(data_dir / path, path)
    return data_dir


def make_result(outcomes: Outcomes, **metrics: float) -> RunResult:
    """The result of a run with these outcomes; keyword arguments "acc_ci_low" are "test/..."."""
    queries = len(outcomes.predictions)
    logged = {"acc": outcomes.predictions["correct"].mean(), "queries": queries, **metrics}
    tags = {
        "git_commit": "0123456789abcdef0123456789abcdef01234567",
        "checkpoint_sha256": "c" * 64,
        "dataset_digest": "d" * 64,
        "reference_identities": "750",
        "reference_images": "13115",
        "query_identities": str(outcomes.predictions["identity"].nunique()),
        "query_images": str(queries),
        "tags": "dev,test",
    }
    return RunResult(
        {f"test/{name}": float(value) for name, value in logged.items()},
        tags,
        "models/epoch_120.ckpt",
        "/data/market",
        confidence=0.95,
    )


@pytest.fixture
def outcomes() -> Outcomes:
    return make_outcomes()


@pytest.fixture
def data_dir(outcomes: Outcomes, tmp_path: Path) -> Path:
    return save_images(outcomes, tmp_path / "data")
