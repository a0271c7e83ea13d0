import subprocess
import sys
from typing import Any

import pytest
import torch

from src.exact_retrieval import evaluate_embeddings
from src.exact_retrieval.statistics.interval import identity_interval
from tests.conftest import ROOT
from tests.exact_retrieval import oracle

GENERATOR = torch.Generator().manual_seed(0)
PEOPLE, OTHERS = torch.arange(24) % 6, torch.arange(60) % 6
CENTRES = torch.randn(6, 8, generator=GENERATOR)
QUERY = CENTRES[PEOPLE] + torch.randn(24, 8, generator=GENERATOR)
REFERENCE = CENTRES[OTHERS] + torch.randn(60, 8, generator=GENERATOR)


@pytest.mark.parametrize("distance", ["cosine", "euclidean"])
def test_equals_the_oracle(distance: Any) -> None:
    result = evaluate_embeddings(QUERY, PEOPLE, REFERENCE, OTHERS, distance=distance)
    nearest = torch.tensor(oracle.nearest(QUERY, REFERENCE, distance))
    right = (OTHERS[nearest] == PEOPLE).double()
    accuracy = result.measures["acc"]
    assert torch.equal(accuracy.values, right)
    assert 0.5 < accuracy.mean.item() < 1
    assert accuracy.mean.item() == pytest.approx(right.mean().item())
    assert torch.equal(result.retrieval.nearest.index[:, 0], nearest)
    assert result.intervals["acc"] == identity_interval(right.numpy(), PEOPLE.numpy())
    knn = oracle.knn_accuracy(QUERY, PEOPLE, REFERENCE, OTHERS, k=5, weighted=False)
    if distance == "cosine":
        assert result.measures["knn_acc"].mean.item() == pytest.approx(knn)
    assert "rank1" not in result.measures


def test_options_reach_the_measures() -> None:
    sets = QUERY, PEOPLE, REFERENCE, OTHERS
    result = evaluate_embeddings(*sets, k=40, vote="weighted", confidence=0.5)
    measured = result.measures["knn_acc"]
    weighted, majority = (oracle.knn_accuracy(*sets, k=40, weighted=w) for w in (True, False))
    assert measured.mean.item() == pytest.approx(weighted)
    assert weighted != majority
    expected = identity_interval(measured.values.numpy(), PEOPLE.numpy(), confidence=0.5)
    assert result.intervals["knn_acc"] == expected


def test_names_and_arrays_of_any_kind_give_the_same() -> None:
    expected = evaluate_embeddings(QUERY, PEOPLE, REFERENCE, OTHERS)
    query, reference = QUERY.numpy(), REFERENCE.numpy().copy()
    reference.flags.writeable = False
    names = [("ann", number) for number in range(6)]
    for people, others in (
        (PEOPLE.numpy(), OTHERS.tolist()),
        ([names[i] for i in PEOPLE], [names[i] for i in OTHERS]),
        (PEOPLE.numpy().astype(str), (str(i) for i in OTHERS.tolist())),
    ):
        result = evaluate_embeddings(query, people, reference, others)
        assert result.intervals == expected.intervals
        for name, measured in expected.measures.items():
            assert torch.equal(result.measures[name].values, measured.values)


def test_seven_is_not_the_text_seven() -> None:
    rows = torch.tensor([[1.0, 0.0], [0.0, 1.0]])
    with pytest.warns(UserWarning, match=r"1 of 2 queries have an identity that no reference has"):
        result = evaluate_embeddings(rows, [7, "7"], rows, [7, "07"])
    assert result.measures["acc"].values.tolist() == [1, 0]


def test_cameras_add_the_measures_across_them() -> None:
    cameras = [f"c{number % 2}" for number in range(24)]
    others: list[Any] = [f"c{number // 6 % 2}" for number in range(60)]
    result = evaluate_embeddings(
        QUERY, PEOPLE, REFERENCE, OTHERS, query_cameras=cameras, reference_cameras=others
    )
    numbers = [torch.tensor([int(name[1]) for name in names]) for names in (cameras, others)]
    expected = oracle.market(QUERY, PEOPLE, numbers[0], REFERENCE, OTHERS, numbers[1], "cosine")
    for name in ("rank1", "mAP", "mINP"):
        assert result.measures[name].mean.item() == pytest.approx(expected[name], abs=1e-6)
    others[3] = None
    unknown = evaluate_embeddings(
        QUERY, PEOPLE, REFERENCE, OTHERS, query_cameras=cameras, reference_cameras=others
    )
    assert "rank1" not in unknown.measures


def test_without_references_each_query_is_compared_with_the_others() -> None:
    result = evaluate_embeddings(QUERY, PEOPLE)
    directions = torch.nn.functional.normalize(QUERY.double())
    similarity = (directions @ directions.T).fill_diagonal_(-torch.inf)
    assert torch.equal(result.retrieval.nearest.index[:, 0], similarity.argmax(dim=1))


@pytest.mark.usefixtures("unchecked")
@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"query_identities": PEOPLE[:23]}, r"`query_identities` should have 24 entries .* got 23"),
        ({"reference_cameras": [1]}, r"`reference_cameras` should have 60 entries .* got 1"),
        ({"reference_identities": None}, r"`reference` should come with `reference_identities`"),
        ({"query": QUERY.long()}, r"`embeddings` should be of a floating dtype, got torch.int64"),
        ({"query": QUERY * torch.nan}, r"`embeddings` should be finite"),
        ({"k": 0}, r"`k` should be a positive integer, got 0"),
        ({"confidence": 1.0}, r"`confidence` should be a number between 0 and 1, got 1.0"),
    ],
)
def test_wrong_input(changes: dict[str, Any], message: str) -> None:
    given = {
        "query": QUERY,
        "query_identities": PEOPLE,
        "reference": REFERENCE,
        "reference_identities": OTHERS,
    }
    with pytest.raises(ValueError, match=message):
        evaluate_embeddings(**(given | changes))


def test_needs_neither_pandas_nor_pyarrow() -> None:
    program = (
        "import sys\n"
        "sys.modules |= dict.fromkeys(['pandas', 'pyarrow', 'pytorch_lightning', 'mlflow'])\n"
        "from src.exact_retrieval import evaluate_embeddings\n"
        "import torch\n"
        "rows = torch.eye(2)\n"
        "print(evaluate_embeddings(rows, 'ab', rows, 'ab').measures['acc'].mean.item())\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], cwd=ROOT, check=True, capture_output=True, text=True
    )
    assert done.stdout == "1.0\n"
