"""The metric in several processes that each hold some of the samples."""

import pickle
import traceback
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import fields, is_dataclass
from functools import partial
from pathlib import Path
from typing import Any
from unittest import mock

import pytest
import torch
import torch.distributed as dist
from torch import Tensor
from torchmetrics import MetricCollection

from src.exact_retrieval import EmbeddingRetrieval, KReciprocal, NearestNeighborAccuracy
from src.exact_retrieval.metrics.embedding_metric import EmbeddingMetric
from src.exact_retrieval.retrieval import verification
from tests.exact_retrieval import oracle
from tests.exact_retrieval.processes import run_in_processes
from tests.exact_retrieval.samples import DISTANCES, Data, fill, make_data

# One worker of pytest-xdist, as the processes run all cases at once.
pytestmark = pytest.mark.xdist_group("processes")

SIZES = [1, 2, 3]
Case = Callable[[int, int], None]
CASES: dict[str, Case] = {}


def case(function: Case) -> Case:
    """Register what every rank runs, with its rank and the number of ranks."""
    CASES[function.__name__] = function
    return function


def run_cases(rank: int, size: int) -> dict[str, str]:
    """Run one case after another until one fails, as the ranks then are out of step."""
    outcomes = dict.fromkeys(CASES, "not run, as an earlier case failed")
    for name, function in CASES.items():
        try:
            function(rank, size)
            dist.barrier()
        except BaseException:
            outcomes[name] = traceback.format_exc()
            break
        outcomes[name] = "passed"
    return outcomes


# How the rows of a set of n samples are dealt to ranks.


def strided(n: int, rank: int, size: int) -> Tensor:
    return torch.arange(n)[rank::size]


def padded(n: int, rank: int, size: int) -> Tensor:
    """As DistributedSampler does: everyone gets as many, the first ones come again."""
    return torch.arange(-(-n // size) * size)[rank::size] % n


def shuffled(n: int, rank: int, size: int) -> Tensor:
    return torch.randperm(n, generator=torch.Generator().manual_seed(n))[rank::size]


def all_on_the_last(n: int, rank: int, size: int) -> Tensor:
    return torch.arange(n if rank == size - 1 else 0)


def none_on_the_first(n: int, rank: int, size: int) -> Tensor:
    if size == 1:
        return torch.arange(n)
    return padded(n, rank - 1, size - 1) if rank else torch.arange(0)


def everything_everywhere(n: int, rank: int, size: int) -> Tensor:
    return torch.arange(n).roll(rank)


DEALS = [strided, padded, shuffled, all_on_the_last, none_on_the_first, everything_everywhere]


def update(metric: Any, data: Data, references: Tensor, queries: Tensor) -> Any:
    for is_query, embeddings, labels, rows in (
        (True, data.query, data.query_labels, queries),
        (False, data.reference, data.reference_labels, references),
    ):
        for part in rows.split(5):
            if len(part):
                metric.update(embeddings[part], labels[part], is_query=is_query, indices=part)
    return metric


def deal(metric: Any, data: Data, how: Any, rank: int, size: int) -> Any:
    """Give a metric its rank's share of both sets."""
    rows = (how(len(labels), rank, size) for labels in (data.reference_labels, data.query_labels))
    return update(metric, data, *rows)


def alone(data: Data, **options: Any) -> NearestNeighborAccuracy:
    """The metric of one process that holds everything, computed."""
    metric = fill(NearestNeighborAccuracy(sync_on_compute=False, **options), data)
    metric.compute()
    return metric


def assert_same(metric: NearestNeighborAccuracy, expected: NearestNeighborAccuracy) -> None:
    assert torch.equal(metric.compute(), expected.compute())
    assert metric.correct.tolist() == expected.correct.tolist()
    assert metric.found.index.tolist() == expected.found.index.tolist()


@contextmanager
def small_blocks() -> Iterator[None]:
    """Blocks of nine rows of eight float32."""
    with mock.patch.object(EmbeddingMetric, "block_bytes", 9 * 8 * 4):
        yield


def with_ties(data: Data) -> Data:
    """Coordinates of -1, 0 and 1: many references are equally near, on different ranks."""
    return data._replace(
        reference=data.reference.sign() * (data.reference.abs() > 1),
        query=data.query.sign() * (data.query.abs() > 1),
    )


def check_awkward_sizes(how: Any, distance: str, rank: int, size: int) -> None:
    for references, queries in ((101, 7), (7, 101), (1, 7), (7, 1), (1, 1)):
        data = make_data(references, queries)
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", message=r".*identity that no reference has")
            expected = alone(data, distance=distance)
            metric = deal(NearestNeighborAccuracy(distance=distance), data, how, rank, size)
            assert_same(metric, expected)
        found = oracle.nearest(data.query, data.reference, distance)
        assert metric.found.index[:, 0].tolist() == found


for how in DEALS:
    for distance in DISTANCES:
        CASES[f"{how.__name__}_{distance}"] = partial(check_awkward_sizes, how, distance)


@case
def blocks(rank: int, size: int) -> None:
    data = make_data(60, 25)
    expected = alone(data)
    with small_blocks():
        for how in DEALS:
            assert_same(deal(NearestNeighborAccuracy(), data, how, rank, size), expected)


@case
def ties_across_ranks(rank: int, size: int) -> None:
    data = with_ties(make_data(101, 37, width=3))
    found = oracle.nearest(data.query, data.reference, "euclidean")
    for how in DEALS:
        metric = deal(NearestNeighborAccuracy(distance="euclidean"), data, how, rank, size)
        metric.compute()
        assert metric.found.index[:, 0].tolist() == found


@case
def other_dtypes(rank: int, size: int) -> None:
    for dtype in (torch.float16, torch.bfloat16, torch.float64):
        data = make_data(60, 25)
        data = data._replace(reference=data.reference.to(dtype), query=data.query.to(dtype))
        for how in (padded, all_on_the_last):
            assert_same(deal(NearestNeighborAccuracy(), data, how, rank, size), alone(data))


@case
def without_indices(rank: int, size: int) -> None:
    data = make_data(60, 25)
    metric = NearestNeighborAccuracy()
    for is_query, embeddings, labels in (
        (False, data.reference, data.reference_labels),
        (True, data.query, data.query_labels),
    ):
        rows = torch.arange(len(labels)).tensor_split(size)[rank]
        for part in rows.split(4):
            metric.update(embeddings[part], labels[part], is_query=is_query)
    assert_same(metric, alone(data))


@case
def mixed_batches(rank: int, size: int) -> None:
    data = make_data(60, 25)
    embeddings = torch.cat([data.query, data.reference])
    labels = torch.cat([data.query_labels, data.reference_labels])
    indices = torch.cat([torch.arange(25), torch.arange(60)])
    metric = NearestNeighborAccuracy()
    for rows in shuffled(85, rank, size).split(9):
        metric.update(embeddings[rows], labels[rows], rows < 25, indices[rows])
    assert_same(metric, alone(data))


@case
def leave_one_out(rank: int, size: int) -> None:
    data = make_data(40, 1)
    expected = NearestNeighborAccuracy(leave_one_out=True, sync_on_compute=False)
    expected.update(data.reference, data.reference_labels)
    expected.compute()
    for how in DEALS:
        metric = NearestNeighborAccuracy(leave_one_out=True)
        rows = how(40, rank, size)
        if len(rows):
            metric.update(data.reference[rows], data.reference_labels[rows], indices=rows)
        assert_same(metric, expected)
    assert all(i != row for row, i in enumerate(metric.found.index[:, 0].tolist()))


@case
def of_copies_that_differ_by_rounding_the_lowest_rank_counts(rank: int, size: int) -> None:
    metric = NearestNeighborAccuracy()
    left, right = torch.tensor([[1.0, 0.1]]), torch.tensor([[1.0, -0.1]])
    middle = torch.tensor([[1.0, 0.0]])
    metric.update(left, torch.tensor([5]), indices=torch.tensor([0]))
    metric.update(right, torch.tensor([6]), indices=torch.tensor([1]))
    copy = middle + (0.03 if rank == 0 else -0.03) * torch.tensor([[0.0, 1.0]])
    metric.update(copy, torch.tensor([5]), is_query=True, indices=torch.tensor([0]))
    assert metric.compute() == 1
    metric.reset()
    metric.update(middle, torch.tensor([5]), indices=torch.tensor([1]))
    metric.update(left if rank == 0 else right, torch.tensor([6]), indices=torch.tensor([0]))
    metric.update(left, torch.tensor([6]), is_query=True, indices=torch.tensor([0]))
    assert metric.compute() == 1


@case
def one_index_with_two_embeddings_is_refused(rank: int, size: int) -> None:
    for wrong in ("query", "reference"):
        metric = NearestNeighborAccuracy()
        for name in ("query", "reference"):
            rows = torch.eye(3)[[0, 1 if name == wrong and rank == size - 1 else 0]]
            indices = torch.tensor([7, 7 if rank == size - 1 else 8 + rank])
            labels = torch.tensor([5, 5])
            metric.update(rows, labels, is_query=name == "query", indices=indices)
        refuses(metric, rf"one {wrong} sample each, got index 7 with two different embeddings")


@case
def only_queries_travel(rank: int, size: int) -> None:
    data = make_data(101, 37)
    metric = deal(NearestNeighborAccuracy(), data, padded, rank, size)
    held = [batch.data_ptr() for batch in metric.reference_embeddings]
    with mock.patch("torch.distributed.broadcast", side_effect=dist.broadcast) as broadcast:
        metric.compute()
    sent = sum(call.args[0].nbytes for call in broadcast.call_args_list)
    assert sent == (data.query.nbytes if size > 1 else 0)
    assert [batch.data_ptr() for batch in metric.reference_embeddings] == held


@case
def updates_go_on_after_compute(rank: int, size: int) -> None:
    data = make_data(60, 25)
    metric = NearestNeighborAccuracy()
    update(metric, data, strided(60, rank, size)[:3], strided(25, rank, size)[:3])
    metric.compute()
    deal(metric, data, strided, rank, size)
    assert_same(metric, alone(data))
    metric.reset()
    other = make_data(31, 11)
    assert_same(deal(metric, other, strided, rank, size), alone(other))


@case
def sync_chooses_who_takes_part(rank: int, size: int) -> None:
    data = make_data(60, 25)
    own = alone(data._replace(**{name: getattr(data, name)[rank::size] for name in Data._fields}))
    for calls, expected in (([], own), (["sync"], alone(data)), (["sync", "unsync"], own)):
        metric = deal(NearestNeighborAccuracy(sync_on_compute=False), data, strided, rank, size)
        for call in calls:
            getattr(metric, call)()
        assert torch.equal(metric.compute(), expected.compute())
        assert metric.correct.tolist() == expected.correct.tolist()


@case
def forward_returns_the_own_batch(rank: int, size: int) -> None:
    data = make_data(60, 25)
    metric = deal(NearestNeighborAccuracy(), data, strided, rank, size)
    batch = torch.tensor([[1.0] * 8, [1.0] * 8])
    is_query, labels = torch.tensor([False, True]), torch.tensor([7, 7 if rank == 0 else 8])
    indices = torch.tensor([60 + rank, 25 + rank])
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=r".*identity that no reference has")
        assert metric(batch, labels, is_query, indices) == (1 if rank == 0 else 0)
        metric.compute()
    assert len(metric.correct) == 25 + size
    assert metric.correct[:25].tolist() == alone(data).correct.tolist()
    assert metric.correct[25:].tolist() == [True] + [False] * (size - 1)


@case
def dist_sync_on_step_returns_the_batch_of_all(rank: int, size: int) -> None:
    data = make_data(60, 25)
    metric = NearestNeighborAccuracy(dist_sync_on_step=True)
    deal(metric, data, strided, rank, size)
    batch = torch.eye(8)[2 * rank : 2 * rank + 2]
    query = batch.roll(1, dims=0)
    step = metric(
        torch.cat([batch, query]),
        torch.tensor([2 * rank, 2 * rank + 1, 2 * rank + 1, 0]),
        torch.tensor([False, False, True, True]),
        torch.tensor([60 + 2 * rank, 61 + 2 * rank, 25 + 2 * rank, 26 + 2 * rank]),
    )
    assert step.item() == pytest.approx((size + 1) / (2 * size))
    metric.compute()
    assert len(metric.correct) == 25 + 2 * size


@case
def a_process_group(rank: int, size: int) -> None:
    members = list(range(0, size, 2))
    group = dist.new_group(members)
    data = make_data(60, 25)
    metric = NearestNeighborAccuracy(process_group=group)
    if rank not in members:
        update(metric, data, torch.arange(60), torch.arange(25))
        with pytest.raises(ValueError, match=r"`process_group` should contain the process"):
            metric.compute()
        return
    deal(metric, data, padded, members.index(rank), len(members))
    assert_same(metric, alone(data))
    metric = NearestNeighborAccuracy(sync_on_compute=False)
    deal(metric, data, padded, members.index(rank), len(members))
    metric.sync(process_group=group)
    assert_same(metric.clone(), alone(data))
    assert_same(metric, alone(data))


@case
def a_compute_group(rank: int, size: int) -> None:
    collection = MetricCollection(
        {d: NearestNeighborAccuracy(distance=d) for d in DISTANCES}, compute_groups=[DISTANCES]
    )
    data, more = make_data(60, 25), make_data(101, 37)
    update(collection, data, strided(30, rank, size), strided(25, rank, size))
    collection.compute()
    deal(collection, data, padded, rank, size)
    collection.compute()
    for distance in DISTANCES:
        assert_same(collection[distance], alone(data, distance=distance))
    collection.reset()
    deal(collection, more, strided, rank, size)
    collection.compute()
    for distance in DISTANCES:
        assert_same(collection[distance], alone(more, distance=distance))


@case
def copies(rank: int, size: int) -> None:
    data = make_data(60, 25)
    metric = deal(NearestNeighborAccuracy(), data, strided, rank, size)
    for copy in (metric.clone(), pickle.loads(pickle.dumps(metric)), metric.to("cpu")):
        assert_same(copy, alone(data))


@case
def copies_of_a_synced_metric(rank: int, size: int) -> None:
    data = make_data(60, 25)
    metric = deal(NearestNeighborAccuracy(sync_on_compute=False), data, strided, rank, size)
    metric.sync()
    for copy in (metric.clone(), pickle.loads(pickle.dumps(metric))):
        assert_same(copy, alone(data))
        assert sum(map(len, copy.reference_labels)) == len(strided(60, rank, size))


@case
def compute_goes_on_after_a_failure(rank: int, size: int) -> None:
    data = make_data(60, 25)
    metric = NearestNeighborAccuracy()
    if rank == 0:  # the others have no sample
        metric.update(data.reference, data.reference_labels, indices=torch.arange(60))
    refuses(metric, r"`query` should hold at least one sample, got none")
    rows = strided(25, rank, size)
    metric.update(data.query[rows], data.query_labels[rows], is_query=True, indices=rows)
    assert_same(metric, alone(data))


@case
def merge_state(rank: int, size: int) -> None:
    data = make_data(60, 25)
    rows = [strided(n, rank, size) for n in (60, 25)]
    first = update(NearestNeighborAccuracy(), data, *(r[:2] for r in rows))
    first.merge_state(update(NearestNeighborAccuracy(), data, *(r[2:] for r in rows)))
    assert_same(first, alone(data))


@case
def neighbours_that_vote_are_the_same(rank: int, size: int) -> None:
    data = make_data(101, 30)
    for options in ({"k": 7}, {"k": 200}, {"k": 7, "vote": "weighted"}):
        expected = alone(data, **options)
        with small_blocks():
            assert_same(
                deal(NearestNeighborAccuracy(**options), data, padded, rank, size), expected
            )


def with_cameras(metric: EmbeddingRetrieval, data: Data, how: Any, rank: int, size: int) -> Any:
    for is_query, embeddings, labels in (
        (False, data.reference, data.reference_labels),
        (True, data.query, data.query_labels),
    ):
        rows = how(len(labels), rank, size)
        if len(rows):
            options = {"is_query": is_query, "indices": rows, "cameras": rows * 7 % 3}
            metric.update(embeddings[rows], labels[rows], **options)
    return metric


def assert_equal(ours: Any, theirs: Any) -> None:
    """Compare a result field by field, bit by bit."""
    if isinstance(ours, Tensor):
        assert torch.equal(ours.nan_to_num(-9), theirs.nan_to_num(-9))
    elif isinstance(ours, tuple):
        for some, others in zip(ours, theirs, strict=True):
            assert_equal(some, others)
    elif is_dataclass(ours):
        for field in fields(ours):
            assert_equal(getattr(ours, field.name), getattr(theirs, field.name))
    else:
        assert ours == theirs


@case
def all_that_is_known_of_queries_is_the_same(rank: int, size: int) -> None:
    options: dict[str, Any] = {"distance": "euclidean", "k": 7, "reranking": KReciprocal(6, 3)}
    data = make_data(60, 25)
    half = Data(*(c.half() if c.is_floating_point() else c for c in data))
    few = make_data(12, 6), make_data(1, 1)
    for data in (make_data(101, 30), *few, with_ties(make_data(101, 30)), half):
        expected = EmbeddingRetrieval(**options, sync_on_compute=False)
        values = with_cameras(expected, data, strided, 0, 1).compute()
        for how in (padded, none_on_the_first):
            metric = EmbeddingRetrieval(**options)
            with_cameras(metric, data, how, rank, size)
            held = 0 if len(data.query) == 6 else verification._HELD
            with small_blocks(), mock.patch.object(verification, "_HELD", held):
                assert metric.compute() == values
            assert_equal(metric.retrieval, expected.retrieval)


@case
def unmatched_queries_are_counted_on_the_first_rank(rank: int, size: int) -> None:
    metric = NearestNeighborAccuracy()
    own = torch.tensor([rank])
    metric.update(torch.eye(8)[own], own, indices=own)
    metric.update(torch.eye(8)[own], own, is_query=True, indices=own)
    if rank == size - 1:
        metric.update(torch.eye(8)[:1], own + 5, is_query=True, indices=own + 1)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        assert metric.compute().item() == pytest.approx(size / (size + 1))
    message = f"1 of {size + 1} queries have an identity that no reference has; they count as wrong"
    assert [str(w.message) for w in caught] == ([f"{message}."] if rank == 0 else [])


def refuses(metric: NearestNeighborAccuracy, message: str) -> None:
    """All ranks raise the same error, and can go on."""
    with pytest.raises(ValueError, match=message) as raised:
        metric.compute()
    messages = [str(raised.value)] * dist.get_world_size()
    dist.all_gather_object(messages, str(raised.value))
    assert len(set(messages)) == 1


@case
def a_missing_set_is_refused(rank: int, size: int) -> None:
    one = {"embeddings": torch.ones(1, 2), "labels": torch.tensor([1])}
    for is_query, missing in ((False, "query"), (True, "reference")):
        metric = NearestNeighborAccuracy()
        if rank == size - 1:
            metric.update(**one, is_query=is_query)
        elif rank == 0:  # torchmetrics warns of what was never updated
            metric._update_count = 1
        refuses(metric, rf"`{missing}` should hold at least one sample, got none")


@case
def what_does_not_go_together_is_refused(rank: int, size: int) -> None:
    if size == 1:
        return
    last, one = rank == size - 1, torch.ones(1, 2)
    for odd, options, message in (
        (torch.ones(1, 3), {}, r"one width on all ranks, got \[2, 3\]"),
        (one.double(), {}, r"of one dtype on all ranks, got torch.float32, torch.float64"),
        (one, {"indices": torch.tensor([0])}, r"given on all ranks or on none"),
    ):
        metric = NearestNeighborAccuracy()
        for is_query in (False, True):
            if last:
                metric.update(odd, torch.tensor([1]), is_query=is_query, **options)
            else:
                metric.update(one, torch.tensor([1]), is_query=is_query)
        refuses(metric, message)


@case
def mixed_dtypes_on_one_rank_are_refused(rank: int, size: int) -> None:
    metric = NearestNeighborAccuracy()
    for is_query in (False, True):
        metric.update(torch.ones(1, 2), torch.tensor([1]), is_query=is_query)
    if rank == size - 1:
        metric.update(torch.ones(1, 2).half(), torch.tensor([1]))
    refuses(metric, r"of one dtype among .*, got torch.float16, torch.float32")


@case
def one_index_with_two_labels_is_refused(rank: int, size: int) -> None:
    for wrong in ("query", "reference"):
        metric = NearestNeighborAccuracy()
        for name in ("query", "reference"):
            labels = torch.tensor([5, 6 if name == wrong and rank == size - 1 else 5])
            indices = torch.tensor([7, 7 if rank == size - 1 else 8 + rank])
            metric.update(torch.ones(2, 2), labels, is_query=name == "query", indices=indices)
        refuses(metric, rf"one {wrong} sample each, got index 7 with label 5 and with label 6")


@case
def what_the_search_refuses_on_one_rank(rank: int, size: int) -> None:
    metric = NearestNeighborAccuracy(distance="euclidean")
    scale = 1e300 if rank == size - 1 else 1.0
    metric.update(scale * torch.ones(1, 2).double(), torch.tensor([1]))
    metric.update(torch.ones(1, 2).double(), torch.tensor([1]), is_query=True)
    refuses(metric, r"norms whose euclidean similarity is finite")


@pytest.fixture(scope="module", params=SIZES, ids=lambda size: f"{size}_processes")
def outcomes(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> list[dict[str, str]]:
    folder: Path = tmp_path_factory.mktemp("store")
    return run_in_processes(run_cases, request.param, folder)


@pytest.mark.parametrize("name", CASES)
def test_in_processes(name: str, outcomes: list[dict[str, str]]) -> None:
    for rank, outcome in enumerate(outcomes):
        assert outcome[name] == "passed", f"rank {rank}: {outcome[name]}"
