"""Whether one checkpoint is better than another on the same queries.

Two questions are kept apart. By how much do they differ, had other people been photographed? The
images of one person resemble each other, so identities are resampled, not queries: a cluster
bootstrap. Could as many wins and losses come from tossing a coin? McNemar's test answers exactly,
but takes the queries as independent of each other.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pandas as pd
from scipy import stats

from src.exact_retrieval.statistics.interval import check_interval_options, identity_interval

CHECKPOINTS = ("baseline", "candidate")
_OF_EACH_CHECKPOINT = ("nearest_path", "nearest_identity", "correct", "similarity")
_NO_SPREAD = 1e-12  # shares lie in [-1, 1] and are rounded at 2e-16


@dataclass(frozen=True)
class PairedDifference:
    """How a mean over queries differs between two checkpoints.

    Attributes:
        baseline: the mean of the baseline.
        candidate: the mean of the candidate.
        interval: bounds, lower first, of `difference`; None where the identities do not vary, so
            that resampling them says nothing about the uncertainty.
        queries: the denominator of the means.
        identities: what was resampled.
    """

    baseline: float
    candidate: float
    interval: tuple[float, float] | None
    queries: int
    identities: int

    @property
    def difference(self) -> float:
        """Candidate minus baseline."""
        return self.candidate - self.baseline

    @property
    def excludes_zero(self) -> bool:
        """Whether there is an interval and 0 lies outside."""
        return self.interval is not None and not self.interval[0] <= 0 <= self.interval[1]


@dataclass(frozen=True)
class Comparison:
    """What two checkpoints are to each other.

    Attributes:
        accuracy: of the share of right answers among all queries.
        mean_average_precision: of the mean of average_precision among the queries where it is
            defined; None where the evaluations have none.
        won: queries that the candidate has right and the baseline wrong.
        lost: queries that the baseline has right and the candidate wrong.
        both_right: queries that both have right.
        both_wrong: queries that both have wrong.
        p_value: of McNemar's exact test.
        confidence: of the intervals, as a share.
        resamples: of the bootstrap behind them.
        seed: of the bootstrap.
    """

    accuracy: PairedDifference
    mean_average_precision: PairedDifference | None
    won: int
    lost: int
    both_right: int
    both_wrong: int
    p_value: float
    confidence: float
    resamples: int
    seed: int

    @property
    def verdict(self) -> str:
        """The accuracy in plain words.

        One is called better only where the interval excludes 0 and the p-value is below
        1 - confidence. Each guards the other: the test overlooks that queries of one person go
        together, and the interval is too narrow where few people make the whole difference.
        """
        level = f"{100 * self.confidence:g} % interval"
        limit = f"{1 - self.confidence:.6g}"
        if self.won == self.lost == 0:
            return "no difference shown: no query is right by one and wrong by the other"
        if self.accuracy.interval is None:
            return "no verdict: the identities do not vary, so there is no interval"
        if not self.accuracy.excludes_zero:
            return f"no difference shown: the {level} includes 0"
        if self.p_value >= 1 - self.confidence:
            return f"no difference shown: the {level} excludes 0, but p is not below {limit}"
        word = "better" if self.accuracy.difference > 0 else "worse"
        return f"candidate {word}: the {level} excludes 0, and p is below {limit}"

    def values(self) -> list[tuple[str, PairedDifference]]:
        """What was compared, by the name that people read."""
        named = [("accuracy", self.accuracy), ("mAP", self.mean_average_precision)]
        return [(name, value) for name, value in named if value is not None]

    def metrics(self) -> dict[str, float]:
        """All numbers by the names under which they are logged; none that is not given."""
        metrics = {
            "compare/queries": float(self.accuracy.queries),
            "compare/won": float(self.won),
            "compare/lost": float(self.lost),
            "compare/p_value": self.p_value,
        }
        for name, value in self.values():
            prefix = "compare/" if name == "accuracy" else "compare/map_"
            metrics[f"{prefix}baseline"] = value.baseline
            metrics[f"{prefix}candidate"] = value.candidate
            metrics[f"{prefix}difference"] = value.difference
            if value.interval is not None:
                low, high = value.interval
                metrics[f"{prefix}difference_ci_low"] = low
                metrics[f"{prefix}difference_ci_high"] = high
        return metrics


def match_queries(baseline: pd.DataFrame, candidate: pd.DataFrame) -> pd.DataFrame:
    """Put the outcomes of every query side by side.

    Args:
        baseline: predictions as `Outcomes` describes them, one row for each path.
        candidate: likewise, of the same paths in any order.

    Returns:
        One row for each query in sorted order of path: path, identity, and for each `<checkpoint>`,
        "baseline" and "candidate", `<checkpoint>_nearest_path`, `_nearest_identity`, `_correct` and
        `_similarity`, and `_average_precision` where both have it.

    Raises:
        ValueError: if the paths of the two differ.
    """
    both = (baseline.set_index("path").sort_index(), candidate.set_index("path").sort_index())
    if not both[0].index.equals(both[1].index):
        raise ValueError("`candidate` should have the queries of `baseline`, got others")
    columns = list(_OF_EACH_CHECKPOINT)
    if all("average_precision" in predictions for predictions in both):
        columns.append("average_precision")
    queries = both[0][["identity"]].copy()
    for column in columns:
        for name, predictions in zip(CHECKPOINTS, both, strict=True):
            queries[f"{name}_{column}"] = predictions[column]
    correct = [f"{name}_correct" for name in CHECKPOINTS]
    queries[correct] = queries[correct].astype(bool)
    return queries.reset_index()


def won_queries(queries: pd.DataFrame) -> pd.DataFrame:
    """The queries that the candidate alone has right, the baseline's most similar errors first.

    Args:
        queries: what `match_queries` returns.
    """
    return _only_right(queries, "candidate", "baseline")


def lost_queries(queries: pd.DataFrame) -> pd.DataFrame:
    """The queries that the baseline alone has right, the candidate's most similar errors first.

    Args:
        queries: what `match_queries` returns.
    """
    return _only_right(queries, "baseline", "candidate")


def compare_outcomes(
    queries: pd.DataFrame, *, confidence: float = 0.95, resamples: int = 2000, seed: int = 0
) -> Comparison:
    """Compare two checkpoints by accuracy, and by mAP where it is given.

    Args:
        queries: what `match_queries` returns.
        confidence: of the intervals, a share.
        resamples: of the bootstrap.
        seed: of the bootstrap.

    Raises:
        ValueError: if an option is not as it should be, or there are no queries.
    """
    check_interval_options(confidence, resamples, seed)
    if queries.empty:
        raise ValueError("`queries` should have at least one row, got none")

    def difference(rows: pd.DataFrame, column: str) -> PairedDifference:
        baseline, candidate = (rows[f"{name}_{column}"].to_numpy(float) for name in CHECKPOINTS)
        return paired_difference(
            baseline,
            candidate,
            rows["identity"],
            confidence=confidence,
            resamples=resamples,
            seed=seed,
        )

    precisions = [f"{name}_average_precision" for name in CHECKPOINTS]
    defined = queries.dropna(subset=[column for column in precisions if column in queries])
    has_precision = precisions[0] in queries and not defined.empty
    right = sum(queries[f"{name}_correct"].to_numpy(int) for name in CHECKPOINTS)
    won, lost = len(won_queries(queries)), len(lost_queries(queries))
    return Comparison(
        accuracy=difference(queries, "correct"),
        mean_average_precision=difference(defined, "average_precision") if has_precision else None,
        won=won,
        lost=lost,
        both_right=int((right == 2).sum()),
        both_wrong=int((right == 0).sum()),
        p_value=mcnemar_p_value(won, lost),
        confidence=confidence,
        resamples=resamples,
        seed=seed,
    )


def paired_difference(
    baseline: npt.NDArray[np.float64],
    candidate: npt.NDArray[np.float64],
    identity: Sequence[str] | pd.Series,
    *,
    confidence: float = 0.95,
    resamples: int = 2000,
    seed: int = 0,
) -> PairedDifference:
    """The difference of two means over the same queries, with an interval by identities.

    With `d_g` the sum of candidate - baseline over the `n_g` queries of identity `g`, the
    difference is `sum(d_g) / sum(n_g)`. A resample draws as many identities as there are, with
    replacement, each with all its queries (Davison & Hinkley, Bootstrap Methods and their
    Application, 1997, section 3.8). The interval is bias-corrected and accelerated, BCa (Efron &
    Tibshirani, An Introduction to the Bootstrap, 1993, section 14.3).

    There is no interval for fewer than two identities, nor where `d_g / n_g` is the same for all,
    as when the checkpoints agree on every query: each resample would give the same difference,
    and [0, 0] would claim a certainty that nobody has.

    Args:
        baseline: float [Q], a value of each query.
        candidate: float [Q], likewise.
        identity: [Q], who is in each query.
        confidence: of the interval, a share.
        resamples: of the bootstrap.
        seed: of the bootstrap.

    Returns:
        Means with denominator Q, and the interval of their difference.
    """
    differences = candidate - baseline
    group, names = pd.factorize(np.asarray(identity), sort=True)
    shares = np.bincount(group, weights=differences) / np.bincount(group)
    interval = None
    if np.ptp(shares) > _NO_SPREAD:
        interval = identity_interval(
            differences, group, confidence=confidence, resamples=resamples, seed=seed
        )
    return PairedDifference(
        baseline=float(baseline.mean()),
        candidate=float(candidate.mean()),
        interval=interval,
        queries=len(differences),
        identities=len(names),
    )


def mcnemar_p_value(won: int, lost: int) -> float:
    """Two-sided p-value of McNemar's test, exact.

    If neither checkpoint is better, each query that only one has right is won or lost like the toss
    of a coin: `won` is binomial with `won + lost` trials and probability 1/2 (McNemar, Note on the
    sampling error of the difference between correlated proportions or percentages, Psychometrika
    12, 1947). The queries count as independent, which those of one person are not.

    Args:
        won: queries that only the candidate has right.
        lost: queries that only the baseline has right.

    Returns:
        The p-value; 1 where nothing was won or lost.

    >>> mcnemar_p_value(won=9, lost=1)
    0.021484375
    """
    if won + lost == 0:
        return 1.0
    return float(stats.binomtest(won, won + lost, 0.5).pvalue)


def _only_right(queries: pd.DataFrame, right: str, wrong: str) -> pd.DataFrame:
    of_one = queries[f"{right}_correct"] & ~queries[f"{wrong}_correct"]
    return queries[of_one].sort_values(f"{wrong}_similarity", ascending=False, kind="stable")
