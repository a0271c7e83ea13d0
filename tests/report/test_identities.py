import numpy as np
import pandas as pd
import pytest

from src.report.evaluation import Evaluation
from src.report.identities import summarise_identities


def test_worst_first() -> None:
    predictions = pd.DataFrame(
        [
            ("a", True, 1.0),
            ("a", True, 0.5),
            ("b", False, np.nan),
            ("c", False, 0.25),
            ("c", True, np.nan),
            ("d", False, 0.0),
            ("d", False, 0.5),
        ],
        columns=["identity", "correct", "average_precision"],
    )
    table = summarise_identities(predictions)
    assert list(table["identity"]) == ["d", "b", "c", "a"]
    assert list(table["queries"]) == [2, 1, 2, 2]
    assert list(table["right"]) == [0, 0, 1, 2]
    assert list(table["accuracy"]) == [0, 0, 0.5, 1]
    np.testing.assert_equal(list(table["mean_average_precision"]), [0.25, np.nan, 0.25, 0.75])


def test_all_queries_are_in_it(evaluation: Evaluation) -> None:
    table = summarise_identities(evaluation.predictions)
    assert table["queries"].sum() == len(evaluation.predictions)
    overall = (table["accuracy"] * table["queries"]).sum() / table["queries"].sum()
    assert overall == pytest.approx(evaluation.predictions["correct"].mean())
