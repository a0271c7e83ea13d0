"""The result of one evaluation: what was evaluated, how good it is, and what became of each query."""

from collections.abc import Mapping
from dataclasses import dataclass

import pandas as pd

from src.exact_retrieval.retrieval.measures import Measure


@dataclass(frozen=True)
class SetSize:
    """How large a set is."""

    identities: int
    images: int


@dataclass(frozen=True)
class Provenance:
    """What was evaluated.

    Attributes:
        checkpoint: the file; None for random weights.
        checkpoint_sha256: of the file; None likewise.
        epoch: that the checkpoint was saved after; None where it does not say.
        data_dir: the folder that paths of images are relative to.
        dataset_digest: of the content of both sets.
        reference: size of the set.
        query: size of the set.
        git_commit: of this code.
        tags: that the user gave.
        notice: what a reader must know first; may be empty.
    """

    checkpoint: str | None
    checkpoint_sha256: str | None
    epoch: int | None
    data_dir: str
    dataset_digest: str
    reference: SetSize
    query: SetSize
    git_commit: str
    tags: tuple[str, ...]
    notice: str


@dataclass(frozen=True)
class Estimate:
    """A measure of one evaluation.

    Attributes:
        measure: which one.
        value: in [0, 1].
        queries: the size of its denominator.
        interval: bounds, lower first; None where none was estimated.
    """

    measure: Measure
    value: float
    queries: int
    interval: tuple[float, float] | None


@dataclass(frozen=True)
class Evaluation:
    """The result of one evaluation.

    Attributes:
        provenance: what was evaluated.
        estimates: all measures, in the order of `MEASURES`.
        counts: numbers of queries, by the name under which they are logged.
        predictions: one row for each query.
    """

    provenance: Provenance
    estimates: tuple[Estimate, ...]
    counts: Mapping[str, int]
    predictions: pd.DataFrame
