"""CMC, mAP and mINP against the protocol written as loops."""

from typing import Any, NamedTuple

import pytest
import torch
from torch import Tensor
from torchmetrics import MetricCollection

from src.exact_retrieval import CrossCameraRetrieval, NearestNeighborAccuracy
from src.exact_retrieval.retrieval import match_ranking
from tests.exact_retrieval import oracle

DISTANCES = ["cosine", "euclidean"]


class People(NamedTuple):
    reference: Tensor
    reference_labels: Tensor
    reference_cameras: Tensor
    query: Tensor
    query_labels: Tensor
    query_cameras: Tensor


def draw_people(seed: int, references: int = 50, queries: int = 21, cameras: int = 3) -> People:
    generator = torch.Generator().manual_seed(seed)
    centres = torch.randn(8, 5, generator=generator)

    def draw(count: int, people: int) -> tuple[Tensor, Tensor, Tensor]:
        labels = torch.randint(people, (count,), generator=generator)
        noise = 1.1 * torch.randn(count, 5, generator=generator)
        taken_by = torch.randint(1, cameras + 1, (count,), generator=generator)
        return centres[labels] + noise, labels * 10, taken_by

    return People(*draw(references, 7), *draw(queries, 8))


def fill(metric: Any, people: People, batch_size: int = 6) -> Any:
    for is_query, (embeddings, labels, cameras) in ((False, people[:3]), (True, people[3:])):
        for rows in torch.arange(len(labels)).split(batch_size):
            metric.update(
                embeddings[rows],
                labels[rows],
                is_query=is_query,
                indices=rows,
                cameras=cameras[rows],
            )
    return metric


def expected(people: People, distance: str) -> dict[str, float]:
    return oracle.market(*people[3:], *people[:3], distance)


@pytest.mark.parametrize("distance", DISTANCES)
@pytest.mark.parametrize("seed", range(5))
def test_equals_the_oracle(seed: int, distance: str) -> None:
    people = draw_people(seed)
    values = fill(CrossCameraRetrieval(distance=distance), people).compute()
    assert {n: v.item() for n, v in values.items()} == pytest.approx(
        expected(people, distance), abs=1e-6
    )
    assert all(value.dtype == torch.float32 and value.shape == () for value in values.values())


def test_the_data_tells_wrong_protocols_apart() -> None:
    people = draw_people(0)
    values = expected(people, "cosine")
    assert values["cross_camera_queries"] < len(people.query)
    assert 0.05 < values["mINP"] < values["mAP"] < values["rank5"] < 1
    nowhere = people._replace(query_cameras=torch.full_like(people.query_cameras, 99))
    assert expected(nowhere, "cosine")["mAP"] != pytest.approx(values["mAP"], abs=1e-3)


def test_ties_rank_by_index() -> None:
    people = draw_people(3)
    coarse = people._replace(reference=people.reference.round(), query=people.query.round())
    values = fill(CrossCameraRetrieval(distance="euclidean"), coarse).compute()
    assert {n: v.item() for n, v in values.items()} == pytest.approx(
        expected(coarse, "euclidean"), abs=1e-6
    )


def test_blocks_do_not_matter(monkeypatch: pytest.MonkeyPatch) -> None:
    people = draw_people(1)
    whole = fill(CrossCameraRetrieval(), people).compute()
    monkeypatch.setattr(match_ranking, "_TARGETS", 25)
    monkeypatch.setattr("src.exact_retrieval.retrieval.embedding_set._BLOCK_BYTES", 5 * 5 * 4)
    assert fill(CrossCameraRetrieval(), people).compute() == whole


def test_each_query_has_its_values() -> None:
    people = draw_people(2)
    metric = fill(CrossCameraRetrieval(), people)
    means = metric.compute()
    for row in range(len(people.query)):
        one = people._replace(**{n: getattr(people, n)[row : row + 1] for n in people._fields[3:]})
        alone = expected(one, "cosine")
        for name, values in metric.values.items():
            assert values[row].item() == pytest.approx(alone.get(name, torch.nan), nan_ok=True)
    for name, values in metric.values.items():
        assert values.nanmean().item() == pytest.approx(means[name].item())


def test_first_rank_among_all_references() -> None:
    people = draw_people(4)
    metric = fill(CrossCameraRetrieval(), people)
    metric.compute()
    assert metric.ranks is not None
    rankings = oracle.ranking(people.query, people.reference, "cosine")
    for row, order in enumerate(rankings):
        hits = (people.reference_labels[order] == people.query_labels[row]).tolist()
        first = hits.index(True) if any(hits) else -1
        assert metric.ranks.first_rank[row] == first + 1
        similarity = -torch.inf
        if any(hits):
            nearest = people.reference[order[first]].double().tolist()
            similarity = oracle.cosine(people.query[row].double().tolist(), nearest)
        assert metric.ranks.similarity[row].item() == pytest.approx(similarity)


def test_an_unknown_camera_gives_no_measure() -> None:
    people = draw_people(0)
    for name in ("query_cameras", "reference_cameras"):
        cameras = getattr(people, name).clone()
        cameras[4] = -1
        metric = fill(CrossCameraRetrieval(), people._replace(**{name: cameras}))
        assert metric.compute() == {}
        assert metric.values == {}


def test_no_query_with_a_match() -> None:
    people = draw_people(0)
    same = people._replace(
        query_cameras=torch.ones_like(people.query_cameras),
        reference_cameras=torch.ones_like(people.reference_cameras),
    )
    assert fill(CrossCameraRetrieval(), same).compute() == {"cross_camera_queries": 0}
    strangers = people._replace(query_labels=people.query_labels + 1)
    assert fill(CrossCameraRetrieval(), strangers).compute() == {"cross_camera_queries": 0}


@pytest.mark.filterwarnings("ignore:3 of 21 queries have an identity that no reference has")
def test_shares_the_embeddings_of_a_collection() -> None:
    metrics = {"acc": NearestNeighborAccuracy(), "retrieval": CrossCameraRetrieval()}
    collection = MetricCollection(metrics, prefix="test/", compute_groups=[list(metrics)])
    people = draw_people(0)
    values = fill(collection, people).compute()
    assert values["test/mAP"] == fill(CrossCameraRetrieval(), people).compute()["mAP"]
    kept = [metric.reference_embeddings[0].data_ptr() for metric in metrics.values()]
    assert kept[0] == kept[1]


def test_refuses_another_distance() -> None:
    with pytest.raises(ValueError, match=r"`distance` should be one of .*, got 'manhattan'"):
        CrossCameraRetrieval(distance="manhattan")
