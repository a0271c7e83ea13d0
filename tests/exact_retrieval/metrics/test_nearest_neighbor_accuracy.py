import pickle
import warnings
from collections.abc import Callable
from typing import Any

import matplotlib.pyplot as plt
import pytest
import torch
from torchmetrics import MetricCollection

from src.exact_retrieval import NearestNeighborAccuracy
from src.exact_retrieval.retrieval import spread_sets
from tests.exact_retrieval import oracle
from tests.exact_retrieval.samples import DISTANCES, Data, fill, make_data


def expected(data: Data, distance: str) -> float:
    return oracle.accuracy(
        data.query, data.query_labels, data.reference, data.reference_labels, distance
    )


@pytest.mark.parametrize("distance", DISTANCES)
@pytest.mark.parametrize(("references", "queries"), [(1, 1), (1, 5), (5, 1), (60, 25), (131, 70)])
def test_equals_the_oracle(distance: str, references: int, queries: int) -> None:
    data = make_data(references, queries)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=".*identity that no reference has")
        value = fill(NearestNeighborAccuracy(distance=distance), data).compute()
    assert value.shape == ()
    assert value.dtype == torch.float32
    assert value.item() == pytest.approx(expected(data, distance), abs=1e-7)


def test_distances_differ_on_this_data() -> None:
    data = make_data()
    assert 0.2 < expected(data, "cosine") < 0.9
    assert expected(data, "cosine") != expected(data, "euclidean")


@pytest.mark.parametrize("distance", DISTANCES)
@pytest.mark.parametrize("batch_size", [1, 3, 64])
@pytest.mark.parametrize("with_indices", [True, False])
def test_batch_size_does_not_matter(distance: str, batch_size: int, with_indices: bool) -> None:
    data = make_data()
    metric = fill(
        NearestNeighborAccuracy(distance=distance), data, batch_size, with_indices=with_indices
    )
    assert metric.compute().item() == pytest.approx(expected(data, distance), abs=1e-7)


def test_order_does_not_matter_with_indices() -> None:
    data = make_data()
    in_order = fill(NearestNeighborAccuracy(), data)
    in_order.compute()
    shuffled = NearestNeighborAccuracy()
    for rows in torch.randperm(len(data.query)).split(4):
        shuffled.update(data.query[rows], data.query_labels[rows], is_query=True, indices=rows)
    for rows in torch.randperm(len(data.reference)).split(4):
        shuffled.update(data.reference[rows], data.reference_labels[rows], indices=rows)
    shuffled.compute()
    assert torch.equal(shuffled.correct, in_order.correct)


def test_ties_go_to_the_lowest_index_in_any_order() -> None:
    same = torch.tensor([[3.0, 4.0]])
    for order in ([0, 1, 2], [2, 1, 0], [1, 2, 0]):
        metric = NearestNeighborAccuracy()
        for index in order:
            label = torch.tensor([50 + index])
            metric.update(same, label, indices=torch.tensor([index]))
        metric.update(same, torch.tensor([50]), is_query=True, indices=torch.tensor([0]))
        assert metric.compute() == 1


def test_a_mixed_batch_equals_two_batches() -> None:
    data = make_data()
    is_query = torch.arange(len(data.reference) + len(data.query)) >= len(data.reference)
    metric = NearestNeighborAccuracy()
    metric.update(
        torch.cat([data.reference, data.query]),
        torch.cat([data.reference_labels, data.query_labels]),
        is_query=is_query,
    )
    assert metric.compute().item() == pytest.approx(expected(data, "cosine"), abs=1e-7)


def test_repeats_count_once() -> None:
    metric = NearestNeighborAccuracy()
    metric.update(torch.eye(2), torch.tensor([1, 2]), indices=torch.tensor([0, 1]))
    queries, labels = torch.tensor([[1.0, 0.1], [1.0, 0.2], [0.0, 1.0]]), torch.tensor([1, 2, 2])
    metric.update(queries, labels, is_query=True, indices=torch.tensor([0, 1, 2]))
    # A padding sampler starts again from the beginning: without indices this would be 3 of 4.
    metric.update(queries[:1], labels[:1], is_query=True, indices=torch.tensor([0]))
    metric.update(torch.eye(2)[:1], torch.tensor([1]), indices=torch.tensor([0]))
    assert metric.compute().item() == pytest.approx(2 / 3)
    assert metric.correct.tolist() == [True, False, True]


def test_labels_beyond_float32_stay_apart() -> None:
    metric = NearestNeighborAccuracy()
    metric.update(torch.eye(2), torch.tensor([2**24, 2**24 + 1]))
    metric.update(torch.eye(2), torch.tensor([2**24 + 1, 2**24]), is_query=True)
    assert metric.compute() == 0


def test_unmatched_queries_are_wrong_and_counted_in_a_warning() -> None:
    metric = NearestNeighborAccuracy()
    metric.update(torch.eye(2), torch.tensor([1, 2]))
    metric.update(torch.eye(2)[[0, 0, 1]], torch.tensor([1, 8, 9]), is_query=True)
    with pytest.warns(UserWarning, match=r"2 of 3 queries have an identity that no reference has"):
        assert metric.compute().item() == pytest.approx(1 / 3)


@pytest.mark.parametrize("dtype", [torch.float64, torch.float16, torch.bfloat16])
def test_other_dtypes_are_compared_as_given(dtype: torch.dtype) -> None:
    data = make_data()
    data = data._replace(reference=data.reference.to(dtype), query=data.query.to(dtype))
    value = fill(NearestNeighborAccuracy(), data).compute()
    assert value.item() == pytest.approx(expected(data, "cosine"), abs=1e-7)


@pytest.mark.parametrize("distance", DISTANCES)
def test_blocks_do_not_matter(distance: str) -> None:
    data = make_data()
    whole = fill(NearestNeighborAccuracy(distance=distance), data)
    whole.compute()
    for batch_size in (3, 64):
        metric = NearestNeighborAccuracy(distance=distance)
        metric.block_bytes = 5 * 8 * 4
        fill(metric, data, batch_size)
        metric.compute()
        assert torch.equal(metric.correct, whole.correct)


def test_matches_are_counted_in_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(spread_sets, "_ROWS", 7)
    data = make_data()
    found = fill(NearestNeighborAccuracy(), data).spread_sets().matches()
    assert torch.equal(found, (data.query_labels[:, None] == data.reference_labels).sum(dim=1))


class TestOrdinaryMetric:
    @pytest.fixture
    def metric(self) -> NearestNeighborAccuracy:
        return fill(NearestNeighborAccuracy(), make_data())

    def test_compute_twice(self, metric: NearestNeighborAccuracy) -> None:
        first = metric.compute()
        metric._computed = None
        assert torch.equal(metric.compute(), first)

    def test_reset(self, metric: NearestNeighborAccuracy) -> None:
        metric.compute()
        metric.reset()
        assert metric.correct is metric.found is None
        other = make_data(31, 11)
        assert fill(metric, other).compute().item() == pytest.approx(expected(other, "cosine"))

    @pytest.mark.parametrize(
        "copy",
        [lambda m: m.clone(), lambda m: pickle.loads(pickle.dumps(m)), lambda m: m.to("cpu")],
    )
    def test_copies(
        self,
        metric: NearestNeighborAccuracy,
        copy: Callable[[NearestNeighborAccuracy], NearestNeighborAccuracy],
    ) -> None:
        assert torch.equal(copy(metric).compute(), metric.compute())

    def test_merge_state(self, metric: NearestNeighborAccuracy) -> None:
        data = make_data()
        halves = [NearestNeighborAccuracy(), NearestNeighborAccuracy()]
        for half, rows in zip(halves, torch.arange(len(data.reference)).split(30), strict=True):
            half.update(data.reference[rows], data.reference_labels[rows], indices=rows)
        rows = torch.arange(len(data.query))
        halves[1].update(data.query, data.query_labels, is_query=True, indices=rows)
        halves[0].merge_state(halves[1])
        assert torch.equal(halves[0].compute(), metric.compute())

    def test_nothing_in_the_state_dict(self, metric: NearestNeighborAccuracy) -> None:
        assert metric.state_dict() == {}

    def test_representation(self) -> None:
        metric = NearestNeighborAccuracy(distance="euclidean", k=3, leave_one_out=True)
        options = "distance='euclidean', k=3, vote='majority', leave_one_out=True"
        assert repr(metric) == f"NearestNeighborAccuracy({options})"

    def test_plot(self, metric: NearestNeighborAccuracy) -> None:
        _, axes = metric.plot()
        assert axes.lines[0].get_ydata().item() == metric.compute().item()
        _, axes = metric.plot([torch.tensor(0.25), torch.tensor(0.75)])
        assert axes.lines[0].get_ydata().tolist() == [0.25, 0.75]
        own = plt.figure().add_subplot()
        assert metric.plot(ax=own)[1] is own
        plt.close("all")

    def test_forward_returns_the_value_of_the_batch(self) -> None:
        metric = NearestNeighborAccuracy()
        is_query = torch.tensor([False, True])
        assert metric(torch.ones(2, 3), torch.tensor([4, 4]), is_query) == 1
        assert metric(torch.ones(2, 3), torch.tensor([5, 6]), is_query) == 0
        with pytest.warns(UserWarning, match=r"1 of 2 queries have an identity that no"):
            assert metric.compute() == 0.5

    @pytest.mark.parametrize("by_position", [True, False])
    def test_forward_of_one_set_has_no_value_but_counts(self, by_position: bool) -> None:
        data = make_data()
        metric = NearestNeighborAccuracy()
        for is_query, embeddings, labels in (
            (False, data.reference, data.reference_labels),
            (True, data.query, data.query_labels),
        ):
            for rows in torch.arange(len(labels)).split(7):
                if by_position:
                    value = metric(embeddings[rows], labels[rows], is_query, rows)
                else:
                    value = metric(embeddings[rows], labels[rows], is_query=is_query, indices=rows)
                assert value.isnan()
        assert metric.compute().item() == pytest.approx(expected(data, "cosine"), abs=1e-7)

    def test_forward_copies_no_embeddings(self, metric: NearestNeighborAccuracy) -> None:
        held = [batch.data_ptr() for batch in metric.reference_embeddings]
        metric(torch.ones(1, 8), torch.tensor([4]), indices=torch.tensor([60]))
        assert [batch.data_ptr() for batch in metric.reference_embeddings[:-1]] == held

    def test_forward_and_update_of_a_compute_group(self) -> None:
        data = make_data()
        collection = MetricCollection(
            {d: NearestNeighborAccuracy(distance=d) for d in DISTANCES}, compute_groups=[DISTANCES]
        )
        collection.update(data.query, data.query_labels, is_query=True)
        for rows in torch.arange(len(data.reference)).split(25):
            collection(data.reference[rows], data.reference_labels[rows])
        values = collection.compute()
        assert {d: v.item() for d, v in values.items()} == pytest.approx(
            {d: expected(data, d) for d in DISTANCES}
        )

    def test_a_compute_group_holds_one_copy(self) -> None:
        data = make_data()
        collection = MetricCollection(
            {d: NearestNeighborAccuracy(distance=d) for d in DISTANCES}, compute_groups=[DISTANCES]
        )
        values = fill(collection, data).compute()
        assert {d: v.item() for d, v in values.items()} == pytest.approx(
            {d: expected(data, d) for d in DISTANCES}
        )
        cosine, euclidean = collection.values(copy_state=False)
        assert cosine.reference_embeddings is euclidean.reference_embeddings


def one_of_each() -> dict[str, Any]:
    return {"embeddings": torch.ones(2, 3), "labels": torch.tensor([1, 2])}


@pytest.mark.usefixtures("unchecked")
@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"embeddings": [[1.0]]}, "`embeddings` should be a tensor, got list"),
        ({"embeddings": torch.ones(3)}, r"`embeddings` should have shape \[B, D\], got \[3\]"),
        ({"embeddings": torch.ones(2, 3, dtype=torch.int64)}, "floating dtype, got torch.int64"),
        ({"embeddings": torch.ones(2, 0)}, r"should have a width, got shape \[2, 0\]"),
        (
            {"embeddings": torch.tensor([[1.0, -1.0], [float("nan"), 1.0]])},
            "NaN or infinity in 1 of 2 rows, the first of them row 1",
        ),
        ({"embeddings": torch.tensor([[1.0, float("inf")]] * 2)}, "in 2 of 2 rows"),
        (
            {"embeddings": torch.tensor([[1.0, 2.0], [0.0, 0.0]])},
            "zero vectors in 1 of 2 rows, the first of them row 1",
        ),
        (
            {"labels": torch.tensor([1.0, 2.0])},
            "`labels` should be an integer tensor, got torch.fl",
        ),
        (
            {"labels": torch.tensor([True, False])},
            "`labels` should be an integer tensor, got torch",
        ),
        ({"labels": [1, 2]}, "`labels` should be an integer tensor, got list"),
        ({"labels": torch.tensor([1])}, r"`labels` should have shape \[2\].* got \[1\]"),
        ({"is_query": torch.tensor([True])}, r"`is_query` should have shape \[2\].* got \[1\]"),
        ({"is_query": torch.tensor([1, 0])}, "`is_query` should be a bool tensor, got torch.int64"),
        ({"is_query": 1}, "`is_query` should be a bool or a bool tensor, got 1"),
        ({"indices": torch.tensor([0])}, r"`indices` should have shape \[2\].* got \[1\]"),
        ({"indices": torch.tensor([0, -3])}, "`indices` should count from 0, got -3"),
        ({"indices": torch.tensor([0.0, 1.0])}, "`indices` should be an integer tensor"),
        ({"cameras": torch.tensor([1, 2, 3])}, r"`cameras` should have shape \[2\].* got \[3\]"),
    ],
)
def test_update_refuses(change: dict[str, Any], message: str) -> None:
    metric = NearestNeighborAccuracy()
    with pytest.raises(ValueError, match=message):
        metric.update(**{**one_of_each(), **change})


def test_euclidean_takes_a_zero_vector() -> None:
    metric = NearestNeighborAccuracy(distance="euclidean")
    metric.update(torch.tensor([[0.0, 0.0], [1.0, 1.0]]), torch.tensor([1, 2]))
    metric.update(torch.tensor([[0.0, 0.1]]), torch.tensor([1]), is_query=True)
    assert metric.compute() == 1


def test_update_refuses_another_width() -> None:
    metric = NearestNeighborAccuracy()
    metric.update(torch.ones(2, 3), torch.tensor([1, 2]))
    with pytest.raises(ValueError, match=r"should have width 3 as in the batches before, got 4"):
        metric.update(torch.ones(1, 4), torch.tensor([1]), is_query=True)


def test_update_refuses_indices_now_and_then() -> None:
    metric = NearestNeighborAccuracy()
    metric.update(**one_of_each())
    with pytest.raises(ValueError, match=r"got a batch with them after one without"):
        metric.update(**one_of_each(), indices=torch.tensor([2, 3]))


def test_compute_refuses_missing_sets() -> None:
    metric = NearestNeighborAccuracy()
    metric.update(**one_of_each())
    with pytest.raises(ValueError, match=r"`query` should hold at least one sample, got none"):
        metric.compute()
    metric = NearestNeighborAccuracy()
    metric.update(**one_of_each(), is_query=True)
    with pytest.raises(ValueError, match=r"`reference` should hold at least one sample, got none"):
        metric.compute()


def test_compute_refuses_one_index_with_two_labels() -> None:
    metric = NearestNeighborAccuracy()
    metric.update(torch.ones(2, 3), torch.tensor([5, 6]), indices=torch.tensor([3, 3]))
    metric.update(**one_of_each(), is_query=True, indices=torch.tensor([0, 1]))
    with pytest.raises(ValueError, match=r"got index 3 with label 5 and with label 6"):
        metric.compute()


def test_compute_refuses_one_index_with_two_embeddings() -> None:
    for name, is_query in (("reference", False), ("query", True)):
        metric = NearestNeighborAccuracy()
        metric.update(**one_of_each(), is_query=not is_query, indices=torch.tensor([0, 1]))
        metric.update(
            torch.tensor([[1.0, 0.0, 0.0], [0.0, 1.0, 0.0]]),
            torch.tensor([5, 5]),
            is_query=is_query,
            indices=torch.tensor([3, 3]),
        )
        message = rf"one {name} sample each, got index 3 with two different embeddings: give each"
        with pytest.raises(ValueError, match=message):
            metric.compute()


def test_compute_refuses_positions_in_the_batch() -> None:
    data = make_data(people=1)
    metric = NearestNeighborAccuracy()
    metric.update(data.query, data.query_labels, is_query=True, indices=torch.arange(25))
    for rows in torch.arange(60).split(20):
        metric.update(data.reference[rows], data.reference_labels[rows], indices=torch.arange(20))
    with pytest.raises(ValueError, match=r"position in the whole set, not in its batch"):
        metric.compute()


@pytest.mark.parametrize("scale", [1e-30, 1.0, 1e150])
@pytest.mark.parametrize("width", [1, 2, 256])
def test_copies_that_differ_by_rounding_are_repeats(width: int, scale: float) -> None:
    """Errors of 3 % of the norm, three times bfloat16's, in any direction."""
    generator = torch.Generator().manual_seed(width)
    rows = torch.randn(2000, width, generator=generator, dtype=torch.float64) * scale
    error = torch.randn(2000, width, generator=generator, dtype=torch.float64)
    error *= 0.03 * rows.norm(dim=1, keepdim=True) / error.norm(dim=1, keepdim=True)
    labels, indices = torch.arange(2000), torch.arange(2000)
    metric = NearestNeighborAccuracy(distance="inner_product")
    for given in (rows, rows + error):
        metric.update(given, labels, indices=indices)
    metric.update(rows[:1], labels[:1], is_query=True, indices=indices[:1])
    metric.compute()
    metric.update(-rows[5:6], labels[5:6], indices=indices[5:6])
    with pytest.raises(ValueError, match=r"index 5 with two different embeddings"):
        metric.compute()


@pytest.mark.parametrize("share", [0.77, 1.3])
def test_copies_may_differ_by_a_quarter_of_the_greater_norm(share: float) -> None:
    """By almost as much, whichever comes first, and with all coordinates moved the same way."""
    row = torch.ones(1, 256)
    metric = NearestNeighborAccuracy()
    for given in (row, row * share):
        metric.update(given, torch.tensor([5]), indices=torch.tensor([3]))
    metric.update(row, torch.tensor([5]), is_query=True, indices=torch.tensor([0]))
    assert metric.compute() == 1


def test_refuses_a_gather() -> None:
    with pytest.raises(ValueError, match=r"`dist_sync_fn` should be None"):
        NearestNeighborAccuracy(dist_sync_fn=lambda tensor, group: [tensor])


def test_compute_refuses_what_forward_could_not_compare() -> None:
    for other, indices, message in (
        (torch.ones(1, 4), None, r"`embeddings` should have one width, got \[3, 4\]"),
        (torch.ones(1, 3), torch.tensor([5]), r"`indices` should be given for every batch or for"),
    ):
        metric = NearestNeighborAccuracy()
        metric(**one_of_each(), is_query=torch.tensor([False, True]))
        metric(other, torch.tensor([1]), indices=indices)
        with pytest.raises(ValueError, match=message):
            metric.compute()


@pytest.mark.usefixtures("unchecked")
def test_refuses_another_distance() -> None:
    with pytest.raises(ValueError, match=r"`distance` should be one of .* got 'manhattan'"):
        NearestNeighborAccuracy(distance="manhattan")


@pytest.mark.parametrize("vote", ["majority", "weighted"])
@pytest.mark.parametrize("k", [1, 2, 5, 8, 100])
def test_votes_equal_the_oracle(k: int, vote: str) -> None:
    data = make_data()
    value = fill(NearestNeighborAccuracy(k=k, vote=vote), data).compute()
    sets = data.query, data.query_labels, data.reference, data.reference_labels
    right = oracle.knn_accuracy(*sets, k=k, weighted=vote == "weighted")
    assert value.item() == pytest.approx(right, abs=1e-7)


def test_votes_differ_on_this_data() -> None:
    data = make_data()
    sets = data.query, data.query_labels, data.reference, data.reference_labels
    assert len({oracle.knn_accuracy(*sets, k=k, weighted=False) for k in (1, 5, 20)}) == 3
    majority, weighted = (oracle.knn_accuracy(*sets, k=100, weighted=w) for w in (False, True))
    assert majority != weighted


@pytest.mark.usefixtures("unchecked")
@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"k": 0}, r"`k` should be a positive integer, got 0"),
        ({"k": True}, r"`k` should be a positive integer, got True"),
        ({"vote": "weighted", "distance": "euclidean"}, r"`vote` should be majority with distance"),
        ({"vote": "loud"}, r"`vote` should be one of .*, got 'loud'"),
    ],
)
def test_refuses_votes(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        NearestNeighborAccuracy(**options)


@pytest.mark.parametrize("distance", DISTANCES)
def test_leave_one_out_equals_the_oracle(distance: str) -> None:
    data = make_data(40, 1)
    right = 0
    for row in range(40):
        others = torch.arange(40) != row
        right += data.reference_labels[row] == oracle.nearest_label(
            data.reference[row], data.reference[others], data.reference_labels[others], distance
        )
    for block_bytes in (2**20, 5 * 8 * 4):
        metric = NearestNeighborAccuracy(distance=distance, leave_one_out=True)
        metric.block_bytes = block_bytes
        for rows in torch.randperm(40).split(7):
            metric.update(data.reference[rows], data.reference_labels[rows], indices=rows)
        assert metric.compute().item() == pytest.approx(right / 40)


def test_leave_one_out_of_lonely_samples() -> None:
    for vote in ("majority", "weighted"):
        metric = NearestNeighborAccuracy(leave_one_out=True, vote=vote)
        metric.update(torch.ones(1, 2), torch.tensor([5]))
        with pytest.warns(UserWarning, match=r"1 of 1 queries .* that no other sample has"):
            assert metric.compute() == 0


def test_rows_whose_sum_is_zero_or_overflows_are_valid() -> None:
    metric = NearestNeighborAccuracy()
    rows = torch.tensor([[1.0, -1.0], [6e4, 6e4], [-6e4, -6e4]], dtype=torch.float16)
    metric.update(rows, torch.arange(3))
    metric.update(rows, torch.arange(3), is_query=True)
    assert metric.compute() == 1
    opposite = torch.tensor([[torch.inf, -torch.inf]], dtype=torch.float16)
    with pytest.raises(
        ValueError, match=r"`embeddings` should be finite, got NaN or infinity in 1"
    ):
        metric.update(opposite, torch.arange(1))
