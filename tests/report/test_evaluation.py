"""An evaluation of a small retrieval, against loops over the embeddings."""

import json
import math
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd
import pytest
import torch
from torch import Tensor

from src.exact_retrieval import EmbeddingRetrieval
from src.exact_retrieval.statistics.interval import identity_interval
from src.report.evaluation import Evaluation, summarise
from src.report.evaluation_folder import read_evaluation, write_predictions, write_result
from tests.exact_retrieval import oracle
from tests.report.evaluations import PROVENANCE, evaluation_of, make_predictions

K = 3


class Images(NamedTuple):
    embeddings: Tensor
    labels: Tensor
    cameras: Tensor

    def table(self, name: str) -> pd.DataFrame:
        identities = [f"{label:04}" for label in self.labels.tolist()]
        return pd.DataFrame(
            {
                "path": [f"{name}/{identity}/{i}.jpg" for i, identity in enumerate(identities)],
                "identity": identities,
                "camera": pd.array([c if c >= 0 else None for c in self.cameras.tolist()], "Int64"),
            }
        )


def draw(seed: int, count: int, identities: int) -> Images:
    generator = torch.Generator().manual_seed(seed)
    labels = torch.randint(identities, (count,), generator=generator)
    centres = torch.randn(identities, 6, generator=torch.Generator().manual_seed(0))
    noise = torch.randn(count, 6, generator=generator)
    return Images(centres[labels] + noise, labels, torch.randint(4, (count,), generator=generator))


QUERY, REFERENCE = draw(1, 25, 9), draw(2, 40, 8)  # nobody in the references is in some queries


def evaluate(query: Images = QUERY, reference: Images = REFERENCE) -> Evaluation:
    metric = EmbeddingRetrieval(k=K)
    for images, is_query in ((reference, False), (query, True)):
        order = torch.randperm(len(images.labels))
        metric.update(
            images.embeddings[order],
            images.labels[order],
            is_query=is_query,
            indices=order,
            cameras=images.cameras[order],
        )
    metric.compute()
    assert metric.retrieval is not None
    return summarise(
        metric.retrieval,
        PROVENANCE,
        query=query.table("query"),
        reference=reference.table("reference"),
    )


pytestmark = pytest.mark.filterwarnings("ignore:.* queries have an identity that no reference has")


def test_every_query_equals_the_oracle() -> None:
    predictions = evaluate().predictions
    query, reference = QUERY.table("query"), REFERENCE.table("reference")
    rankings = oracle.ranking(QUERY.embeddings, REFERENCE.embeddings, "cosine")
    euclidean = oracle.nearest(QUERY.embeddings, REFERENCE.embeddings, "euclidean")
    assert len(predictions) == len(query)
    for i, (row, order) in enumerate(zip(predictions.itertuples(), rankings, strict=True)):
        embedding = QUERY.embeddings[i].double().tolist()
        scores = [oracle.cosine(embedding, r) for r in REFERENCE.embeddings.double().tolist()]
        is_match = [reference["identity"][j] == query["identity"][i] for j in order]
        is_own = [
            m and reference["camera"][j] == query["camera"][i]
            for m, j in zip(is_match, order, strict=True)
        ]
        kept = [m for m, own in zip(is_match, is_own, strict=True) if not own]
        own_scores = [scores[j] for j, m in zip(order, is_match, strict=True) if m]
        other_scores = [scores[j] for j, m in zip(order, is_match, strict=True) if not m]

        assert (row.path, row.identity) == (query["path"][i], query["identity"][i])
        assert row.camera == query["camera"][i]
        nearest = reference.iloc[order[0]]
        assert row.nearest_path == nearest["path"]
        assert row.nearest_identity == nearest["identity"]
        assert row.nearest_camera == nearest["camera"]
        assert row.similarity == pytest.approx(scores[order[0]])
        assert row.correct == is_match[0]
        assert row.matches == sum(is_match)
        assert row.neighbor_path == list(reference["path"][order[:K]])
        assert row.neighbor_identity == list(reference["identity"][order[:K]])
        assert row.neighbor_camera == list(reference["camera"][order[:K]])
        assert row.neighbor_similarity == pytest.approx([scores[j] for j in order[:K]])
        if own_scores:
            assert row.margin == pytest.approx(own_scores[0] - other_scores[0])
            assert row.first_match_rank == 1 + is_match.index(True)
        else:
            assert math.isnan(row.margin)
            assert row.first_match_rank is pd.NA
        if any(kept):
            assert row.cross_camera_rank == 1 + kept.index(True)
            assert row.average_precision == pytest.approx(average_precision(kept))
        else:
            assert row.cross_camera_rank is pd.NA
            assert math.isnan(row.average_precision)

        assert row.acc == row.correct
        assert row.acc_euclidean == (reference["identity"][euclidean[i]] == row.identity)
        assert row.map_all == pytest.approx(average_precision(is_match), nan_ok=True)
        expected = float(any(kept[:5])) if any(kept) else math.nan
        assert row.rank5 == pytest.approx(expected, nan_ok=True)
        assert row.mAP == pytest.approx(row.average_precision, nan_ok=True)


def average_precision(hits: list[bool]) -> float:
    precisions = [sum(hits[: n + 1]) / (n + 1) for n, hit in enumerate(hits) if hit]
    return sum(precisions) / len(precisions) if precisions else math.nan


def test_estimates_are_means_of_columns() -> None:
    evaluation = evaluate()
    predictions, metrics = evaluation.predictions, evaluation.metrics()
    assert [each.measure.name for each in evaluation.estimates] == list(predictions.columns[17:])
    for estimate in evaluation.estimates:
        known = predictions[estimate.measure.name].dropna()
        weights = predictions["matches"] if estimate.measure.over_matches else 1 + 0 * known
        weights = weights[known.index]
        assert estimate.size == weights.sum() == evaluation.counts[estimate.measure.denominator]
        mean = np.average(known, weights=weights)
        assert estimate.value == np.float32(estimate.value) == pytest.approx(mean)
        assert metrics[f"test/{estimate.measure.name}"] == estimate.value
        assert estimate.interval is None
    is_matched = QUERY.table("")["identity"].isin(REFERENCE.table("")["identity"])
    assert metrics["test/queries"] == 25
    assert metrics["test/matched_queries"] == is_matched.sum() < 25
    assert metrics["test/cross_camera_queries"] == predictions["cross_camera_rank"].notna().sum()


def test_intervals() -> None:
    plain = evaluate()
    evaluation = plain.with_intervals(confidence=0.9)
    metrics = evaluation.metrics()
    assert evaluation.confidence == 0.9
    for estimate in evaluation.estimates:
        name = estimate.measure.name
        values = evaluation.predictions[name].to_numpy()
        weights = evaluation.predictions["matches"].to_numpy()
        expected = identity_interval(
            values,
            QUERY.labels.numpy(),
            weights=weights if estimate.measure.over_matches else None,
            confidence=0.9,
        )
        assert estimate.interval == tuple(np.float32(expected))
        assert estimate.value == metrics[f"test/{name}"]
        bounds = (metrics[f"test/{name}_ci_low"], metrics[f"test/{name}_ci_high"])
        assert bounds == estimate.interval
    with pytest.raises(ValueError, match=r"`confidence` should be a number between 0 and 1, got 9"):
        plain.with_intervals(confidence=9)


def test_one_person_has_no_interval() -> None:
    evaluation = evaluation_of(make_predictions([True, False]).assign(acc=[1.0, 0.0]))
    estimated = evaluation.with_intervals(confidence=0.9)
    assert [estimate.interval for estimate in estimated.estimates] == [None]
    assert not any("_ci_" in name for name in estimated.metrics())


TOO_FEW_PAIRS = (
    "tar_far_1e-3 is not computed: there are fewer than 1,000 pairs of two identities.",
    "tar_far_1e-4 is not computed: there are fewer than 10,000 pairs of two identities.",
)


def test_unknown_cameras() -> None:
    """One unknown camera of a reference leaves all matches across cameras unknown."""
    cameras = REFERENCE.cameras.clone()
    cameras[7] = -1
    evaluation = evaluate(reference=REFERENCE._replace(cameras=cameras))
    predictions = evaluation.predictions
    names = [estimate.measure.name for estimate in evaluation.estimates]
    over_all = ["map_all", "r_precision", "map_at_r"]
    assert names == ["acc", "acc_euclidean", "knn_acc", *over_all, "tar_far_1e-2"]
    assert set(evaluation.counts) == {"queries", "matched_queries", "same_identity_pairs"}
    images = len(QUERY.labels) + len(REFERENCE.labels)
    seventh = REFERENCE.table("reference")["path"][7]
    assert evaluation.omissions == (
        "rank1, rank5, rank10, mAP, mINP are not computed: "
        f"1 of {images} images has no camera (first: {seventh}).",
        *TOO_FEW_PAIRS,
    )
    assert predictions["cross_camera_rank"].isna().all()
    assert predictions["average_precision"].isna().all()
    is_seventh = predictions["nearest_path"].str.endswith("/7.jpg")
    assert predictions["nearest_camera"].isna().tolist() == is_seventh.tolist()
    for paths, found in zip(
        predictions["neighbor_path"], predictions["neighbor_camera"], strict=True
    ):
        assert [camera is None for camera in found] == [path.endswith("/7.jpg") for path in paths]


def test_no_match_by_another_camera() -> None:
    one_camera = torch.ones_like(REFERENCE.cameras)
    evaluation = evaluate(
        query=QUERY._replace(cameras=torch.ones_like(QUERY.cameras)),
        reference=REFERENCE._replace(cameras=one_camera),
    )
    assert evaluation.counts["cross_camera_queries"] == 0
    assert evaluation.omissions == (
        "rank1, rank5, rank10, mAP, mINP are not computed: "
        "there are no queries with a match by another camera.",
        *TOO_FEW_PAIRS,
    )


def test_nothing_is_omitted_without_a_reason() -> None:
    assert evaluate().omissions == TOO_FEW_PAIRS


def test_fewer_references_than_neighbours() -> None:
    two = Images(*(column[:2] for column in REFERENCE))
    predictions = evaluate(reference=two).predictions
    assert {len(paths) for paths in predictions["neighbor_path"]} == {2}
    assert {len(similarities) for similarities in predictions["neighbor_similarity"]} == {2}


class TestTags:
    def test_of_a_checkpoint(self) -> None:
        assert PROVENANCE.run_tags() == {
            "git_commit": "0123456789abcdef0123456789abcdef01234567",
            "tags": "dev,test",
            "checkpoint_sha256": "c" * 64,
            "checkpoint_epoch": "120",
            "dataset_digest": "d" * 64,
            "reference_identities": "750",
            "reference_images": "13115",
            "query_identities": "6",
            "query_images": "40",
        }

    def test_of_random_weights(self) -> None:
        provenance = replace(
            PROVENANCE, checkpoint=None, checkpoint_sha256=None, epoch=None, tags=()
        )
        tags = provenance.run_tags()
        assert tags["checkpoint_sha256"] == "none: random weights"
        assert not {"checkpoint_epoch", "tags"} & set(tags)

    def test_of_an_unknown_epoch(self) -> None:
        tags = replace(PROVENANCE, epoch=None).run_tags()
        assert tags["checkpoint_epoch"] == "unknown"


class TestFolder:
    @pytest.mark.parametrize("cameras", ["known", "unknown"])
    @pytest.mark.parametrize("intervals", [True, False])
    def test_nothing_is_lost(self, cameras: str, intervals: bool, tmp_path: Path) -> None:
        unknown = torch.where(torch.arange(40) % 3 > 0, REFERENCE.cameras, -1)
        reference = REFERENCE if cameras == "known" else REFERENCE._replace(cameras=unknown)
        evaluation = evaluate(reference=reference)
        if intervals:
            evaluation = evaluation.with_intervals(confidence=0.9)
        assert write_result(evaluation, tmp_path / "run") == tmp_path / "run" / "result.json"
        path = write_predictions(evaluation, tmp_path / "run")
        assert path == tmp_path / "run" / "predictions.parquet"
        read = read_evaluation(tmp_path / "run")
        pd.testing.assert_frame_equal(read.predictions, evaluation.predictions)
        assert read.predictions["neighbor_camera"].tolist() == (
            evaluation.predictions["neighbor_camera"].tolist()
        )
        assert read.histogram is not None
        assert evaluation.histogram is not None
        assert all(map(torch.equal, read.histogram, evaluation.histogram))
        both = (
            replace(each, predictions=None, histogram=None)  # type: ignore[arg-type]
            for each in (read, evaluation)
        )
        assert next(both) == next(both)

    def test_result_has_the_published_keys(self, tmp_path: Path) -> None:
        evaluation = evaluate().with_intervals(confidence=0.95)
        result = json.loads(write_result(evaluation, tmp_path).read_text())
        assert result["metrics"] == evaluation.metrics()
        assert result["tags"] == evaluation.provenance.run_tags()
        assert result["checkpoint"] == "models/epoch_120.ckpt"
        assert result["data_dir"] == "/data/market"
        assert result["confidence"] == 0.95

    def test_predictions_have_the_published_types(self, tmp_path: Path) -> None:
        write_predictions(evaluate(), tmp_path)
        types = pd.read_parquet(tmp_path / "predictions.parquet").dtypes.astype(str)
        assert list(types.items())[:13] == [
            ("path", "str"),
            ("identity", "str"),
            ("camera", "Int64"),
            ("nearest_path", "str"),
            ("nearest_identity", "str"),
            ("nearest_camera", "Int64"),
            ("similarity", "float64"),
            ("margin", "float64"),
            ("first_match_rank", "Int64"),
            ("correct", "bool"),
            ("cross_camera_rank", "Int64"),
            ("average_precision", "float64"),
            ("matches", "int64"),
        ]

    def test_a_folder_of_an_earlier_version(self, tmp_path: Path) -> None:
        result = {
            "metrics": {
                "test/acc": 0.75,
                "test/acc_ci_high": 0.9,
                "test/acc_ci_low": 0.5,
                "test/mAP": 0.5,
                "test/cross_camera_queries": 3.0,
                "test/queries": 4.0,
            },
            "tags": {
                "git_commit": "abc+changes",
                "tags": "dev,test",
                "reference_identities": "8",
                "reference_images": "30",
                "query_identities": "2",
                "query_images": "4",
                "checkpoint_sha256": "c" * 64,
                "dataset_digest": "d" * 64,
                "checkpoint_epoch": "7",
            },
            "checkpoint": "a.ckpt",
            "data_dir": "/data",
            "confidence": 0.95,
        }
        (tmp_path / "result.json").write_text(json.dumps(result))
        predictions = make_predictions([True, True, False, True])
        predictions.to_parquet(tmp_path / "predictions.parquet", index=False)
        evaluation = read_evaluation(tmp_path)
        pd.testing.assert_frame_equal(evaluation.predictions, predictions)
        assert evaluation.provenance.run_tags() == result["tags"]
        assert evaluation.metrics() == result["metrics"]
        assert (evaluation.verification, evaluation.open_set) == (((), None), ())
        assert evaluation.provenance.epoch == 7
        assert evaluation.provenance.reference.images == 30
        assert [estimate.size for estimate in evaluation.estimates] == [4, 3]
        assert (
            evaluation.distance is evaluation.k is evaluation.vote is evaluation.histogram is None
        )

    @pytest.mark.parametrize("content", ["[]", "1", '{"metrics": 1}', "{"])
    def test_no_result(self, content: str, tmp_path: Path) -> None:
        write_predictions(evaluation_of(make_predictions([True])), tmp_path)
        (tmp_path / "result.json").write_text(content)
        with pytest.raises(ValueError, match=r"result.json should be|result.json has no|Expecting"):
            read_evaluation(tmp_path)
