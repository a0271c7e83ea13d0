import math

import pytest

from src.exact_retrieval.statistics.mcnemar import mcnemar_p_value


def naive_p_value(won: int, lost: int) -> float:
    n = won + lost
    probabilities = [math.comb(n, k) / 2**n for k in range(n + 1)]
    return sum(p for p in probabilities if p <= probabilities[won])


@pytest.mark.parametrize("won", range(0, 13, 3))
@pytest.mark.parametrize("lost", [0, 1, 6, 40])
def test_mcnemar_equals_the_oracle(won: int, lost: int) -> None:
    assert mcnemar_p_value(won, lost) == pytest.approx(naive_p_value(won, lost))
    assert mcnemar_p_value(lost, won) == pytest.approx(naive_p_value(won, lost))


def test_mcnemar_without_discordant_queries() -> None:
    assert mcnemar_p_value(0, 0) == 1
