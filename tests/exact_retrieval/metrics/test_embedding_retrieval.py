"""All measures, and what is known of each query, against loops."""

import math
from typing import Any, NamedTuple

import numpy as np
import pytest
import torch
from pytorch_metric_learning.distances import CosineSimilarity
from pytorch_metric_learning.utils.accuracy_calculator import AccuracyCalculator
from pytorch_metric_learning.utils.inference import CustomKNN
from torch import Tensor

from src.exact_retrieval import EmbeddingRetrieval, Retrieval
from src.exact_retrieval.retrieval import ranking
from src.exact_retrieval.retrieval.measures import MEASURES, measure_all
from tests.exact_retrieval import oracle

DISTANCES = ["cosine", "euclidean"]

# Some people in the data have no reference.
pytestmark = pytest.mark.filterwarnings("ignore:.* queries have an identity that no")


class People(NamedTuple):
    reference: Tensor
    reference_labels: Tensor
    reference_cameras: Tensor
    query: Tensor
    query_labels: Tensor
    query_cameras: Tensor

    @property
    def sets(self) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """As the oracle takes them where cameras play no part."""
        return self.query, self.query_labels, self.reference, self.reference_labels


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


def retrieval_of(people: People, **options: Any) -> Retrieval:
    metric = fill(EmbeddingRetrieval(**options), people)
    metric.compute()
    assert metric.retrieval is not None
    return metric.retrieval


def expected(people: People, distance: str, k: int = 5) -> dict[str, float]:
    of_queries = oracle.over_all_references(*people.sets, distance)
    values = {
        "acc": oracle.accuracy(*people.sets, distance),
        "acc_euclidean": oracle.accuracy(*people.sets, "euclidean"),
        **{name: np.nanmean(column) for name, column in of_queries.items()},
        "queries": len(people.query),
        "matched_queries": np.isfinite(of_queries["map_all"]).sum(),
        **oracle.market(*people[3:], *people[:3], distance),
        **oracle.above_thresholds(*people.sets, distance),
    }
    if distance == "cosine":
        values["knn_acc"] = oracle.knn_accuracy(*people.sets, k=k, weighted=False)
    return values


@pytest.mark.parametrize("distance", DISTANCES)
@pytest.mark.parametrize("seed", range(5))
def test_equals_the_oracle(seed: int, distance: str) -> None:
    people = draw_people(seed)
    found = fill(EmbeddingRetrieval(distance=distance, k=5), people).compute()
    assert all(value.dtype == torch.float32 and value.shape == () for value in found.values())
    values = {name: value.item() for name, value in found.items()}
    if distance != "cosine":
        del values["knn_acc"]
    assert values == pytest.approx(expected(people, distance), abs=1e-6)


def test_the_data_tells_wrong_measures_apart() -> None:
    people = draw_people(4, cameras=2)
    values = expected(people, "cosine")
    assert values["cross_camera_queries"] < values["matched_queries"] < values["queries"]
    assert 0.05 < values["mINP"] < values["mAP"] < values["rank5"] < 1
    logged = [measure.name for measure in MEASURES if measure.name in values]
    assert len({round(values[name], 3) for name in logged}) > 7


def test_enough_people_for_every_threshold_but_one() -> None:
    people = draw_people(7, references=100, queries=130)
    found = fill(EmbeddingRetrieval(k=5), people).compute()
    wanted = expected(people, "cosine")
    assert {name: value.item() for name, value in found.items()} == pytest.approx(wanted, abs=1e-6)
    missing = {measure.name for measure in MEASURES if not measure.name.startswith("reranked")}
    assert missing - set(found) == {"tpir_fpir_1e-2"}
    names = ("tar_far_1e-4", "tar_far_1e-3", "tar_far_1e-2")
    assert sorted({wanted[name] for name in names}) == [wanted[name] for name in names]
    assert 0 < wanted["tpir_fpir_1e-1"] < wanted["acc"]


@pytest.mark.parametrize("distance", DISTANCES)
def test_ties_rank_by_index(distance: str) -> None:
    people = draw_people(3)
    coarse = people._replace(
        reference=people.reference.round() + 0.5, query=people.query.round() + 0.5
    )
    found = fill(EmbeddingRetrieval(distance=distance, k=5), coarse).compute()
    wanted = expected(coarse, distance)
    assert {name: found[name].item() for name in wanted} == pytest.approx(wanted, abs=1e-6)


def test_blocks_do_not_matter(monkeypatch: pytest.MonkeyPatch) -> None:
    people = draw_people(1)
    whole = fill(EmbeddingRetrieval(), people).compute()
    monkeypatch.setattr(ranking, "_MATCHES", 25)
    metric = EmbeddingRetrieval()
    metric.block_bytes = 5 * 5 * 4
    assert fill(metric, people).compute() == whole


def test_autocast_does_not_matter() -> None:
    people = draw_people(1)
    people = people._replace(reference=people.reference.half(), query=people.query.half())
    metric = fill(EmbeddingRetrieval(), people)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        found = metric.compute()
    assert found == fill(EmbeddingRetrieval(), people).compute()


def test_more_neighbours_than_references() -> None:
    people = draw_people(1)
    all_of_them = fill(EmbeddingRetrieval(k=len(people.reference)), people).compute()
    assert fill(EmbeddingRetrieval(k=10**4), people).compute() == all_of_them


@pytest.mark.parametrize("distance", DISTANCES)
def test_few_people_with_many_references(distance: str) -> None:
    people = draw_people(2, references=1400, queries=8)
    people = people._replace(
        reference_labels=people.reference_labels % 20, query_labels=people.query_labels % 20
    )
    with_copies = people._replace(reference=people.reference[torch.arange(1400) % 700])
    for each in (people, with_copies):
        found = fill(EmbeddingRetrieval(distance=distance, k=5), each).compute()
        wanted = expected(each, distance)
        assert {name: found[name].item() for name in wanted} == pytest.approx(wanted, abs=1e-6)


@pytest.mark.parametrize("seed", range(3))
def test_equals_pytorch_metric_learning(seed: int) -> None:
    people = draw_people(seed)
    known = torch.isin(people.query_labels, people.reference_labels)
    calculator = AccuracyCalculator(
        include=("r_precision", "mean_average_precision_at_r"),
        k="max_bin_count",
        knn_func=CustomKNN(CosineSimilarity()),
    )
    wanted = calculator.get_accuracy(
        people.query[known], people.query_labels[known], people.reference, people.reference_labels
    )
    found = fill(EmbeddingRetrieval(), people).compute()
    assert found["r_precision"].item() == pytest.approx(wanted["r_precision"], abs=1e-6)
    at_r = wanted["mean_average_precision_at_r"]
    assert found["map_at_r"].item() == pytest.approx(at_r, abs=1e-6)


def test_each_query_has_its_values() -> None:
    people = draw_people(2)
    for measured in measure_all(retrieval_of(people, k=5)):
        name = measured.measure.name
        if name == "tar_far_1e-2":  # whose threshold depends on all queries
            continue
        for row in range(len(people.query)):
            changes = {n: getattr(people, n)[row : row + 1] for n in people._fields[3:]}
            alone = oracle_of_one(people._replace(**changes))
            assert measured.values[row].item() == pytest.approx(
                alone.get(name, math.nan), nan_ok=True
            )
        assert measured.values.nanmean().item() == pytest.approx(measured.mean.item())
        if measured.measure.is_share:
            assert set(measured.values[~measured.values.isnan()].tolist()) <= {0.0, 1.0}


def test_each_query_has_its_values_above_a_threshold() -> None:
    people = draw_people(7, references=100, queries=130)
    retrieval = retrieval_of(people)
    measured = {each.measure.name: each for each in measure_all(retrieval)}
    pairs, known = measured["tar_far_1e-3"], measured["tpir_fpir_1e-1"]
    assert pairs.weights is not None
    assert known.weights is None
    of_pairs = next(p.threshold for p in retrieval.verification.points if p.one_in == 1000)
    of_queries = next(p.threshold for p in retrieval.open_set if p.one_in == 10)
    for row, q in enumerate(people.query.double().tolist()):
        similarity = [oracle.cosine(q, r) for r in people.reference.double().tolist()]
        is_same = (people.reference_labels == people.query_labels[row]).tolist()
        own = [s for s, same in zip(similarity, is_same, strict=True) if same]
        accepted = sum(s > of_pairs + 1e-12 for s in own)
        assert pairs.weights[row] == len(own)
        assert pairs.values[row].item() == pytest.approx(
            accepted / len(own) if own else math.nan, nan_ok=True
        )
        nearest = max(similarity)
        right = is_same[similarity.index(nearest)] and nearest > of_queries + 1e-12
        assert known.values[row].item() == pytest.approx(
            float(right) if own else math.nan, nan_ok=True
        )
    assert pairs.size == int(retrieval.matches.count.sum())
    assert known.size == int((retrieval.matches.count > 0).sum())


def oracle_of_one(people: People) -> dict[str, float]:
    alone = oracle.over_all_references(*people.sets, "cosine")
    return {
        "acc": oracle.accuracy(*people.sets, "cosine"),
        "acc_euclidean": oracle.accuracy(*people.sets, "euclidean"),
        "knn_acc": oracle.knn_accuracy(*people.sets, k=5, weighted=False),
        **{name: column[0] for name, column in alone.items()},
        **oracle.market(*people[3:], *people[:3], "cosine"),
    }


def test_what_is_known_of_each_query() -> None:
    people = draw_people(4)
    retrieval = retrieval_of(people, k=3)
    rankings = oracle.ranking(people.query, people.reference, "cosine")
    starts = (retrieval.matches.count.cumsum(0) - retrieval.matches.count).tolist()
    for row, order in enumerate(rankings):
        similarity = [
            oracle.cosine(people.query[row].double().tolist(), reference)
            for reference in people.reference[order].double().tolist()
        ]
        is_match = (people.reference_labels[order] == people.query_labels[row]).tolist()
        places = [place for place, match in enumerate(is_match) if match]
        start, count = starts[row], int(retrieval.matches.count[row])
        own = slice(start, start + count)
        assert retrieval.matches.rank[own].tolist() == [place + 1 for place in places]
        assert retrieval.matches.similarity[own].tolist() == pytest.approx(
            [similarity[place] for place in places]
        )
        assert retrieval.matches.is_own_camera[own].tolist() == [
            bool(people.reference_cameras[order[place]] == people.query_cameras[row])
            for place in places
        ]
        impostor = max(s for s, match in zip(similarity, is_match, strict=True) if not match)
        assert retrieval.impostor_similarity[row].item() == pytest.approx(impostor)
        margin = similarity[places[0]] - impostor if places else math.nan
        assert retrieval.margin[row].item() == pytest.approx(margin, nan_ok=True)
        assert retrieval.nearest.index[row].tolist() == order[:3]


@pytest.mark.parametrize("distance", [*DISTANCES, "inner_product"])
def test_the_histogram_counts_every_pair_once(distance: str) -> None:
    people = draw_people(5)
    histogram = retrieval_of(people, distance=distance).histogram
    values = np.array(
        [
            [oracle.SIMILARITY[distance](q, r) for r in people.reference.double().tolist()]
            for q in people.query.double().tolist()
        ]
    )
    same = (people.query_labels[:, None] == people.reference_labels).numpy()
    edges = histogram.edges.numpy()
    for counts, chosen in ((histogram.same, same), (histogram.different, ~same)):
        assert counts.tolist() == np.histogram(values[chosen], edges)[0].tolist()


def test_the_extremes_of_cosine_are_in_the_histogram() -> None:
    rows = torch.randn(50, 3)
    metric = EmbeddingRetrieval()
    metric.update(torch.cat([rows, -rows]), torch.arange(100))
    metric.update(rows, torch.arange(50), is_query=True)
    metric.compute()
    assert metric.retrieval.histogram.same.sum() == 50
    assert metric.retrieval.histogram.same[-1] == 50
    assert metric.retrieval.histogram.different.sum() == 50 * 99


def test_a_similarity_on_an_edge_is_in_the_upper_bin() -> None:
    metric = EmbeddingRetrieval(distance="inner_product")
    metric.update(torch.ones(2, 1), torch.arange(2))
    similarity = torch.tensor([-257.0, -1.0, 1.0, 257.0])
    metric.update(similarity[:, None], torch.arange(4) % 2, is_query=True)
    metric.compute()
    assert metric.retrieval is not None
    histogram = metric.retrieval.histogram
    assert torch.isin(similarity, histogram.edges).all()
    expected = np.histogram(similarity, histogram.edges)[0].tolist()
    assert histogram.same.tolist() == histogram.different.tolist() == expected


def test_lengths_whose_squares_underflow_leave_the_cosine_alone() -> None:
    people = draw_people(1)
    metric = EmbeddingRetrieval(k=5)
    short = people._replace(
        reference=people.reference * 2.0 ** (-18 * torch.arange(50).double()[:, None]),
        query=people.query * 2.0 ** (-45 * torch.arange(21).double()[:, None]),
    )
    values = {name: value.item() for name, value in fill(metric, short).compute().items()}
    wanted = expected(people, "cosine")
    del wanted["acc_euclidean"], values["acc_euclidean"]
    assert values == pytest.approx(wanted, abs=1e-6)


def test_an_unknown_camera_leaves_the_other_measures() -> None:
    people = draw_people(0)
    everything = fill(EmbeddingRetrieval(), people).compute()
    for name in ("query_cameras", "reference_cameras"):
        cameras = getattr(people, name).clone()
        cameras[4] = -1
        found = fill(EmbeddingRetrieval(), people._replace(**{name: cameras})).compute()
        needed = {"rank1", "rank5", "rank10", "mAP", "mINP", "cross_camera_queries"}
        assert found == {name: everything[name] for name in everything if name not in needed}


def test_no_query_with_a_match() -> None:
    people = draw_people(0)
    same = people._replace(
        query_cameras=torch.ones_like(people.query_cameras),
        reference_cameras=torch.ones_like(people.reference_cameras),
    )
    found = fill(EmbeddingRetrieval(), same).compute()
    assert found["cross_camera_queries"] == 0
    assert "mAP" not in found
    assert found["map_all"] > 0
    strangers = people._replace(query_labels=people.query_labels + 1)
    found = fill(EmbeddingRetrieval(), strangers).compute()
    assert found["matched_queries"] == found["acc"] == 0
    assert "map_all" not in found


@pytest.mark.parametrize("distance", DISTANCES)
def test_leave_one_out_equals_the_oracle(distance: str) -> None:
    people = draw_people(6, references=30)
    metric = EmbeddingRetrieval(distance=distance, leave_one_out=True)
    for rows in torch.randperm(30).split(7):
        embeddings, labels, cameras = (column[rows] for column in people[:3])
        metric.update(embeddings, labels, indices=rows, cameras=cameras)
    found = metric.compute()
    totals: dict[str, list[float]] = {}
    for row in range(30):
        others = torch.arange(30) != row
        one = People(
            *(column[others] for column in people[:3]),
            *(column[row : row + 1] for column in people[:3]),
        )
        of_query = oracle.over_all_references(*one.sets, distance)
        values = oracle.market(*one[3:], *one[:3], distance)
        values |= {name: column[0] for name, column in of_query.items()}
        values["acc"] = oracle.accuracy(*one.sets, distance)
        values["acc_euclidean"] = oracle.accuracy(*one.sets, "euclidean")
        for name, value in values.items():
            totals.setdefault(name, []).append(value)
    names = "acc", "acc_euclidean", "map_all", "r_precision", "map_at_r", "rank1", "mAP", "mINP"
    for name in names:
        assert found[name].item() == pytest.approx(np.nanmean(totals[name]), abs=1e-6)
    assert found["cross_camera_queries"] == sum(totals["cross_camera_queries"])


@pytest.mark.usefixtures("unchecked")
def test_refuses_another_distance() -> None:
    with pytest.raises(ValueError, match=r"`distance` should be one of .*, got 'manhattan'"):
        EmbeddingRetrieval(distance="manhattan")
