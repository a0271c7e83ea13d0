"""Whether one checkpoint is better than another on the same queries.

Two questions are kept apart. How much would they differ, had other people been photographed? The
images of one person resemble each other, so the interval counts identities, not queries. Could
as many wins and losses come from tossing a coin? McNemar's test answers exactly, but takes the
queries as independent of each other.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import pandas as pd

from src.exact_retrieval.retrieval.measures import MEASURES
from src.exact_retrieval.statistics.mcnemar import mcnemar_p_value
from src.exact_retrieval.statistics.paired_difference import PairedDifference, paired_difference
from src.report.evaluated_run import EvaluatedRun
from src.report.evaluation import Evaluation
from src.report.wording import confidence_level, points

CHECKPOINTS = ("baseline", "candidate")

_COLUMNS = (
    "nearest_path",
    "nearest_identity",
    "correct",
    "similarity",
    "rank_1",
    "average_precision",
)
_PUBLISHED = ("acc", "rank1", "mAP")  # measures that have names and columns of their own
_NAMED_AT_MOST = 3
_PREFIXES = {"1-NN accuracy": "", "rank-1": "rank1_", "mAP": "map_"}


@dataclass(frozen=True)
class Comparison:
    """How two checkpoints compare.

    Attributes:
        runs: by the names in `CHECKPOINTS`.
        queries: one row for each, sorted by path: path, identity, and with either of `CHECKPOINTS`
            as a prefix nearest_path, nearest_identity, correct, similarity, rank_1 (1 if the first
            match across cameras comes first, otherwise 0) and average_precision; NaN if unknown.
        accuracy: of the share of right answers among all queries.
        rank_1: of the share of queries whose first match across cameras comes first, among those
            for which both have a match; None if there are none.
        mean_average_precision: of the mean of average_precision among the same queries.
        others: of all other measures that both have, by their names.
        confidence: of the intervals, as a share.
    """

    runs: Mapping[str, EvaluatedRun]
    queries: pd.DataFrame
    accuracy: PairedDifference
    rank_1: PairedDifference | None
    mean_average_precision: PairedDifference | None
    others: Mapping[str, PairedDifference]
    confidence: float

    @property
    def won(self) -> pd.DataFrame:
        """What the candidate alone has right, the most similar errors of the baseline first."""
        return self._only_right("candidate", "baseline")

    @property
    def lost(self) -> pd.DataFrame:
        """What the baseline alone has right, the most similar errors of the candidate first."""
        return self._only_right("baseline", "candidate")

    @property
    def p_value(self) -> float:
        """That of McNemar's exact test."""
        return mcnemar_p_value(len(self.won), len(self.lost))

    @property
    def verdict(self) -> str:
        """What the accuracies tell, in words, and which of the other means differ.

        A checkpoint is called better only if the interval excludes 0 and the p-value is below
        1 - confidence. Each guards the other: the test overlooks that queries of one person go
        together, and the interval is too narrow if few people make the whole difference.
        """
        return "; ".join(
            [
                self._judge_accuracy(),
                *self._name_others("higher", 1),
                *self._name_others("lower", -1),
            ]
        )

    @property
    def summary(self) -> str:
        """Say in two sentences what came out."""
        differences = ", ".join(
            f"{name} {points(value.difference)} points" for name, value in self._headlines().items()
        )
        verdict = self.verdict[0].upper() + self.verdict[1:]
        return f"Candidate minus baseline: {differences}. {verdict}."

    def count(self, *, baseline: bool, candidate: bool) -> int:
        """Count the queries that each of the two has right or wrong."""
        right = [self.queries[f"{name}_correct"] for name in CHECKPOINTS]
        return int(((right[0] == baseline) & (right[1] == candidate)).sum())

    def means(self) -> dict[str, PairedDifference]:
        """Return the means that were compared, by the name that people read."""
        return {**self._headlines(), **self.others}

    def interval_identities(self) -> dict[str, int]:
        """Count the identities behind each interval, by the name of its mean."""
        return {
            name: value.identities
            for name, value in self.means().items()
            if value.interval is not None
        }

    def metrics(self) -> dict[str, float]:
        """Return all numbers by the names under which they are logged."""
        metrics = {
            "compare/queries": float(len(self.queries)),
            "compare/won": float(len(self.won)),
            "compare/lost": float(len(self.lost)),
            "compare/p_value": self.p_value,
        }
        for name, value in self.means().items():
            prefix = f"compare/{_PREFIXES.get(name, f'{name}_')}"
            metrics[f"{prefix}baseline"] = value.baseline
            metrics[f"{prefix}candidate"] = value.candidate
            metrics[f"{prefix}difference"] = value.difference
            if value.interval is not None:
                low, high = value.interval
                metrics[f"{prefix}difference_ci_low"] = low
                metrics[f"{prefix}difference_ci_high"] = high
        return metrics

    def _headlines(self) -> dict[str, PairedDifference]:
        """Return the means that a verdict speaks of."""
        named = {
            "1-NN accuracy": self.accuracy,
            "rank-1": self.rank_1,
            "mAP": self.mean_average_precision,
        }
        return {name: value for name, value in named.items() if value is not None}

    def _judge_accuracy(self) -> str:
        level = f"{confidence_level(self.confidence)} interval"
        limit = f"{1 - self.confidence:.6g}"
        nothing = "no difference in 1-NN accuracy shown"
        if self.won.empty and self.lost.empty:
            return f"{nothing}: no query is right by one and wrong by the other"
        if self.accuracy.interval is None:
            return (
                "no verdict on 1-NN accuracy: the identities do not vary, so there is no interval"
            )
        if not self.accuracy.excludes_zero:
            return f"{nothing}: the {level} includes 0"
        if self.p_value >= 1 - self.confidence:
            return f"{nothing}: the {level} excludes 0, but p is not below {limit}"
        word = "better" if self.accuracy.difference > 0 else "worse"
        return f"candidate {word} in 1-NN accuracy: the {level} excludes 0, and p is below {limit}"

    def _name_others(self, direction: str, sign: int) -> list[str]:
        """Name the means across cameras that differ in a direction, if any do."""
        others = [
            name
            for name, value in self._headlines().items()
            if value is not self.accuracy and value.excludes_zero and sign * value.difference > 0
        ]
        if not others:
            return []
        if len(others) == 1:
            return [f"{others[0]} is {direction}: its interval excludes 0"]
        return [f"{' and '.join(others)} are {direction}: their intervals exclude 0"]

    def _only_right(self, right: str, wrong: str) -> pd.DataFrame:
        queries = self.queries
        only = queries.loc[queries[f"{right}_correct"] & ~queries[f"{wrong}_correct"]]
        return only.sort_values(f"{wrong}_similarity", ascending=False, kind="stable")


def compare_runs(
    baseline: EvaluatedRun,
    candidate: EvaluatedRun,
    *,
    confidence: float = 0.95,
) -> Comparison:
    """Compare two checkpoints by accuracy and by all other measures that both have.

    Args:
        baseline: what to compare with.
        candidate: evaluated on the same data.
        confidence: of the intervals, as a share.

    Raises:
        ValueError: if the data differ, and for a confidence that `check_confidence` refuses.
    """
    _check_same_data(baseline.evaluation, candidate.evaluation)
    runs = dict(zip(CHECKPOINTS, (baseline, candidate), strict=True))
    both = {name: _by_path(run.evaluation.predictions) for name, run in runs.items()}

    def compare(column: str, weight: str | None = None) -> PairedDifference | None:
        rows = _pair_values(both, column, weight)
        if rows.empty:
            return None
        baseline, candidate = (rows[name].to_numpy(float) for name in CHECKPOINTS)
        identities, _ = pd.factorize(rows["identity"], sort=True)
        weights = rows["weight"].to_numpy()
        return paired_difference(
            baseline, candidate, identities, weights=weights, confidence=confidence
        )

    accuracy = compare("correct")
    assert accuracy is not None
    others = {
        measure.name: compare(measure.name, "matches" if measure.over_matches else None)
        for measure in MEASURES
        if measure.name not in _PUBLISHED
    }
    return Comparison(
        runs=runs,
        queries=_match_queries(both),
        accuracy=accuracy,
        rank_1=compare("rank_1"),
        mean_average_precision=compare("average_precision"),
        others={name: value for name, value in others.items() if value is not None},
        confidence=confidence,
    )


def _pair_values(both: Mapping[str, pd.DataFrame], column: str, weight: str | None) -> pd.DataFrame:
    """List the queries for which both have a value: identity, both values, and weight."""
    rows = both["baseline"][["identity"]].copy()
    for name, predictions in both.items():
        rows[name] = predictions.get(column, np.nan)
    rows["weight"] = 1 if weight is None else both["baseline"].get(weight, np.nan)
    return rows.dropna(subset=[*CHECKPOINTS, "weight"])


def _check_same_data(baseline: Evaluation, candidate: Evaluation) -> None:
    ours, theirs = baseline.provenance.data_tags(), candidate.provenance.data_tags()
    differing = [
        f"{tag}: {ours[tag]} in the baseline, {theirs[tag]} in the candidate"
        for tag in ours
        if ours[tag] != theirs[tag]
    ]
    paths = [set(evaluation.predictions["path"]) for evaluation in (baseline, candidate)]
    alone = [
        f"queries of the {name} alone: {len(only)} ({_first_of(only)})"
        for name, only in (("baseline", paths[0] - paths[1]), ("candidate", paths[1] - paths[0]))
        if only
    ]
    if differing or alone:
        how = "the data differ:"
        if not differing:
            how = "the images are the same, but under other paths, as in another layout:"
        raise ValueError(
            "`candidate` should be evaluated on the data of `baseline`, "
            + "\n  ".join([how, *differing, *alone])
            + "\nEvaluate both checkpoints with the same datamodule.data_dir."
        )


def _first_of(paths: set[str]) -> str:
    more = ", ..." if len(paths) > _NAMED_AT_MOST else ""
    return ", ".join(sorted(paths)[:_NAMED_AT_MOST]) + more


def _match_queries(both: Mapping[str, pd.DataFrame]) -> pd.DataFrame:
    queries = both["baseline"][["identity"]].copy()
    for column in _COLUMNS:
        for name, predictions in both.items():
            queries[f"{name}_{column}"] = predictions.get(column, np.nan)
    return queries.reset_index()


def _by_path(predictions: pd.DataFrame) -> pd.DataFrame:
    table = predictions.set_index("path").sort_index()
    if "cross_camera_rank" in table:
        rank = table["cross_camera_rank"].astype(float)
        table["rank_1"] = (rank == 1).astype(float).where(rank.notna())
    return table
