import pytest

from src.report.wording import counted, percent, shortened, unreliable_intervals


def test_percent() -> None:
    assert percent(0.97076) == "97.08\u00a0%"
    assert percent(1) == "100.00\u00a0%"
    assert percent(0.876, decimals=0) == "88\u00a0%"


def test_counted() -> None:
    assert counted(1, "query", "queries") == "1 query"
    assert counted(3368, "query", "queries") == "3,368 queries"
    assert counted(0, "pair") == "0 pairs"


@pytest.mark.parametrize(
    ("name", "expected"),
    [("0001", "0001"), ("person_001", "person_001"), ("person_0001", "pers…_0001")],
)
def test_shortened(name: str, expected: str) -> None:
    assert shortened(name, 10) == expected


@pytest.mark.parametrize(
    ("identities", "expected"),
    [
        ({}, ""),
        ({"acc": 10, "mAP": 10}, ""),
        (
            {"acc": 10, "mAP": 9, "mINP": 9},
            "The intervals of mAP, mINP rest on fewer than 10 identities",
        ),
        ({"acc": 9, "mAP": 2}, "All intervals rest on fewer than 10 identities"),
    ],
)
def test_unreliable_intervals(identities: dict[str, int], expected: str) -> None:
    warning = unreliable_intervals(identities)
    assert warning == (expected and f"{expected}: they are not reliable.")
