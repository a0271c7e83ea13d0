"""How often intervals hold the true mean, with few people and many: python -m benchmarks.intervals.

People are unequally difficult: the chance of a person's queries is drawn from a beta distribution,
and each person has 1 to 7 queries. A query is right with that chance, or its average precision
spreads about it. A candidate leaves 0.7 of the errors of a baseline, and finds 0.8 of the people as
difficult.

`held` is the share of intervals that hold the true value, over all settings. `least` is that of the
worst setting, with a standard error of 0.01 at 600 draws. The others miss: all of the interval lies
below the true value, or above.
"""

import argparse
from collections.abc import Iterator
from itertools import product
from typing import NamedTuple

import numpy as np
from jaxtyping import Float64, Int64
from rich.console import Console
from rich.table import Table

from src.exact_retrieval.statistics.interval import identity_interval
from src.exact_retrieval.statistics.paired_difference import paired_difference

_MEANS = (0.1, 0.5, 0.7, 0.9, 0.95, 0.98)
_CONCENTRATIONS = (1.0, 3.0)
_ERRORS_LEFT = 0.7  # by the candidate, of those of the baseline
_ALIKE = 0.8  # of the people, whom both evaluations find equally difficult
_SPREAD = 4.0  # concentration of a person's average precisions

Values = Float64[np.ndarray, " Q"]


class Draw(NamedTuple):
    """Two evaluations of the same queries."""

    people: Int64[np.ndarray, " Q"]
    baseline: Values
    candidate: Values


class Outcome(NamedTuple):
    """What became of one interval: on which side it missed the true mean, if so, and its width."""

    missed_below: bool
    missed_above: bool
    width: float


def main() -> None:
    """Draw tests, estimate intervals, and print how often they hold the true mean."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--draws", type=int, default=600, help="of each mean and concentration")
    parser.add_argument("--identities", type=int, nargs="+", default=[10, 20, 40, 200, 750])
    parser.add_argument("--confidence", type=float, default=0.95)
    arguments = parser.parse_args()
    for kind in ("accuracy", "mAP"):
        for what in ("mean", "difference"):
            table = Table(
                "identities",
                "least",
                "held",
                "all below",
                "all above",
                "width",
                title=f"{what} of {kind}, nominal {arguments.confidence:g}",
            )
            for identities in arguments.identities:
                settings = [
                    list(_outcomes(kind, what, identities, *setting, arguments))
                    for setting in product(_MEANS, _CONCENTRATIONS)
                ]
                table.add_row(str(identities), *_summarise(settings))
            Console().print(table)


def _summarise(settings: list[list[Outcome]]) -> list[str]:
    """Least coverage of all settings; coverage, misses and width over all of them."""
    held = [
        np.mean([not (each.missed_below or each.missed_above) for each in outcomes])
        for outcomes in settings
        if outcomes
    ]
    below, above, width = np.mean([each for setting in settings for each in setting], axis=0)
    return [f"{min(held):.3f}", *(f"{x:.3f}" for x in (1 - below - above, below, above, width))]


def _outcomes(
    kind: str,
    what: str,
    identities: int,
    mean: float,
    concentration: float,
    arguments: argparse.Namespace,
) -> Iterator[Outcome]:
    """Estimate intervals of tests; a difference that does not vary has none."""
    rng = np.random.default_rng([identities, int(1000 * mean), int(concentration)])
    for _ in range(arguments.draws):
        people, baseline, candidate = _draw(rng, kind, identities, mean, concentration)
        bounds: tuple[float, float] | None
        if what == "mean":
            true = mean
            bounds = identity_interval(baseline, people, confidence=arguments.confidence)
        else:
            true = (1 - _ERRORS_LEFT) * (1 - mean)
            bounds = paired_difference(
                baseline, candidate, people, confidence=arguments.confidence
            ).interval
        if bounds is not None:
            yield Outcome(bounds[1] < true, bounds[0] > true, bounds[1] - bounds[0])


def _draw(
    rng: np.random.Generator, kind: str, identities: int, mean: float, concentration: float
) -> Draw:
    def chances() -> Float64[np.ndarray, " G"]:
        return rng.beta(concentration * mean, concentration * (1 - mean), identities)

    people = np.repeat(np.arange(identities), rng.integers(1, 8, identities))
    baseline = chances()
    likewise = np.where(rng.random(identities) < _ALIKE, baseline, chances())
    candidate = 1 - _ERRORS_LEFT * (1 - likewise)
    values = []
    for chance in (baseline[people], candidate[people]):
        if kind == "accuracy":
            values.append((rng.random(len(people)) < chance).astype(np.float64))
        else:
            chance = chance.clip(1e-9, 1 - 1e-9)
            values.append(rng.beta(_SPREAD * chance, _SPREAD * (1 - chance)))
    return Draw(people, *values)


if __name__ == "__main__":
    main()
