"""Metrics as state machines: whatever happens to them, they agree with a model of few lines."""

import copy
import pickle
import warnings
from typing import Any, NamedTuple

import numpy as np
import pytest
import torch
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, rule, run_state_machine_as_test
from torch import Tensor

from src.exact_retrieval import EmbeddingRetrieval, NearestNeighborAccuracy
from tests.exact_retrieval import oracle

pytestmark = pytest.mark.filterwarnings("ignore")


class Row(NamedTuple):
    """A sample of the model. Small integers have exact similarities, and so exact ties."""

    embedding: tuple[int, int, int]
    label: int
    camera: int
    is_query: bool


ROWS = st.lists(
    st.builds(
        Row,
        st.tuples(*[st.integers(-3, 3)] * 3).filter(any),
        st.integers(0, 2),
        st.integers(0, 1),
        st.booleans(),
    ),
    max_size=4,
)


def model(rows: list[Row], distance: str) -> dict[str, float] | None:
    """All measures, by the oracle; None without queries or references."""
    query, reference = ([row for row in rows if row.is_query is asked] for asked in (True, False))
    if not query or not reference:
        return None
    sets = [column for each in (query, reference) for column in columns(each)]
    plain = (*sets[:2], *sets[3:5])
    over_all = oracle.over_all_references(*plain, distance)
    market = oracle.market(*sets, distance)
    means = {name: np.nanmean(each) for name, each in over_all.items() if not np.isnan(each).all()}
    accuracy = oracle.accuracy(*plain, distance)
    return {"acc": accuracy, **means, **market, "queries": len(query)}


def columns(rows: list[Row]) -> tuple[Tensor, Tensor, Tensor]:
    embedding, label, camera, _ = map(torch.tensor, zip(*rows, strict=True))
    return embedding.float(), label, camera


class Machine(RuleBasedStateMachine):
    """A metric, and the rows that it should hold."""

    metric: Any
    kind: Any

    @initialize(distance=st.sampled_from(["euclidean", "inner_product"]))
    def begin(self, distance: str) -> None:
        self.distance, self.rows = distance, []
        self.metric = self.kind(distance=distance)

    @rule(rows=ROWS)
    def update(self, rows: list[Row]) -> None:
        self.give(self.metric.update, rows)
        self.rows += rows

    @rule(rows=ROWS)
    def forward(self, rows: list[Row]) -> None:
        self.compare(self.give(self.metric, rows), rows)
        self.rows += rows

    @rule()
    def compute(self) -> None:
        if model(self.rows, self.distance) is None:
            with pytest.raises(ValueError, match=r"no (reference|query)|got none"):
                self.metric.compute()
        else:
            self.compare(self.metric.compute(), self.rows)

    @rule()
    def reset(self) -> None:
        self.metric.reset()
        self.rows = []

    @rule(how=st.sampled_from([copy.deepcopy, lambda each: pickle.loads(pickle.dumps(each))]))
    def copied(self, how: Any) -> None:
        self.metric = how(self.metric)

    @rule()
    def clone(self) -> None:
        self.metric = self.metric.clone()

    @rule(rows=ROWS)
    def merge(self, rows: list[Row]) -> None:
        other = self.kind(distance=self.distance)
        self.give(other.update, rows)
        self.metric.merge_state(other)
        self.rows += rows  # those of this metric come first

    @rule()
    def sync(self) -> None:
        self.metric.sync(distributed_available=lambda: False)
        self.metric.unsync()

    def give(self, take: Any, rows: list[Row]) -> Any:
        if not rows:
            return take(torch.empty(0, 3), *[torch.empty(0, dtype=torch.int64)] * 1)
        embedding, label, camera = columns(rows)
        is_query = torch.tensor([row.is_query for row in rows])
        return take(embedding, label, is_query, cameras=camera)

    def compare(self, value: Any, rows: list[Row]) -> None:
        expected = model(rows, self.distance)
        if isinstance(value, Tensor):
            value = {"acc": value}
        if expected is None:
            assert all(torch.isnan(each) for each in value.values())
            return
        for name in expected.keys() & value.keys():
            assert value[name].item() == pytest.approx(expected[name], abs=1e-6), name
        assert value.keys() <= {"acc"} or expected.keys() <= value.keys()


@pytest.mark.parametrize("metric", [NearestNeighborAccuracy, EmbeddingRetrieval])
def test_any_order_of_calls(metric: Any) -> None:
    machine = type("Machine", (Machine,), {"kind": metric})
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        run_state_machine_as_test(machine, settings=settings.get_profile("fuzz"))
