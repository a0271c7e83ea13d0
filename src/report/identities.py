"""What became of every identity."""

import pandas as pd


def summarise_identities(predictions: pd.DataFrame) -> pd.DataFrame:
    """Sum up the queries of every identity, the worst first.

    Args:
        predictions: as in `Outcomes`.

    Returns:
        One row for each identity, in ascending order of accuracy, then descending order of queries:

        - identity (str);
        - queries (int64), right (int64): their number, and of how many the nearest reference has
          the identity;
        - accuracy (float64): right / queries;
        - mean_average_precision (float64): over the queries whose average precision is known; NaN
          where there is none.
    """
    groups = predictions.groupby("identity", sort=True)
    table = groups.agg(
        queries=("correct", "size"),
        right=("correct", "sum"),
        mean_average_precision=("average_precision", "mean"),
    ).reset_index()
    table["right"] = table["right"].astype("int64")
    table.insert(3, "accuracy", table["right"] / table["queries"])
    return table.sort_values(
        ["accuracy", "queries"], ascending=[True, False], kind="stable", ignore_index=True
    )
