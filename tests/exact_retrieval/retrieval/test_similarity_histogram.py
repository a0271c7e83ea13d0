import numpy as np
import pytest
import torch

from src.exact_retrieval import NearestNeighborAccuracy
from src.exact_retrieval.retrieval.similarity_histogram import count_similarities
from tests.exact_retrieval import oracle
from tests.exact_retrieval.metrics.test_nearest_neighbor_accuracy import DISTANCES, fill, make_data


@pytest.mark.parametrize("distance", [*DISTANCES, "inner_product"])
def test_counts_every_pair_once(distance: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("src.exact_retrieval.retrieval.embedding_set._BLOCK_BYTES", 11 * 8 * 4)
    monkeypatch.setattr("src.exact_retrieval.retrieval.similarity_histogram._REFERENCES", 7)
    data = make_data()
    histogram = count_similarities(
        fill(NearestNeighborAccuracy(), data).spread_sets(), distance=distance
    )
    similarity = oracle.SIMILARITY[distance]
    values = np.array(
        [
            [similarity(q, r) for r in data.reference.double().tolist()]
            for q in data.query.double().tolist()
        ]
    )
    same = (data.query_labels[:, None] == data.reference_labels).numpy()
    for counts, chosen in ((histogram.same, same), (histogram.different, ~same)):
        assert counts.tolist() == np.histogram(values[chosen], histogram.edges)[0].tolist()


def test_the_extremes_of_cosine_are_inside() -> None:
    metric = NearestNeighborAccuracy()
    rows = torch.randn(50, 3)
    metric.update(torch.cat([rows, -rows]), torch.arange(100))
    metric.update(rows, torch.arange(50), is_query=True)
    histogram = count_similarities(metric.spread_sets(), distance="cosine")
    assert histogram.same.sum() == 50
    assert histogram.same[-1] == 50
    assert histogram.different.sum() == 50 * 99
