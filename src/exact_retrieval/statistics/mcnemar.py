"""Whether two evaluations of the same queries differ by more than chance."""

import scipy


def mcnemar_p_value(won: int, lost: int) -> float:
    """Return the two-sided p-value of McNemar's exact test.

    If neither evaluation is better, each query that only one has right is won or lost like the toss
    of a coin: `won` is binomial with `won + lost` trials and probability 1/2 (McNemar, "Note on the
    sampling error of the difference between correlated proportions or percentages", Psychometrika
    1947). The test takes queries as independent, which those of one person are not.

    Args:
        won: number of queries that only the candidate has right.
        lost: number of queries that only the baseline has right.

    Returns:
        The p-value; 1 if nothing was won or lost.

    Example:
        >>> mcnemar_p_value(won=9, lost=1)
        0.021484375
    """
    if won + lost == 0:
        return 1.0
    return float(scipy.stats.binomtest(won, won + lost, 0.5).pvalue)
