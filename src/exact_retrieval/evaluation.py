"""Measure embeddings that are in memory, in one call."""

from collections.abc import Hashable, Iterable, Mapping
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
import torch
from jaxtyping import Float, Int64, Shaped
from torch import Tensor

from .metrics.embedding_retrieval import EmbeddingRetrieval
from .retrieval.measures import Measured, measure_all
from .retrieval.reranking import KReciprocal
from .retrieval.retrieval import Retrieval, Vote, check_reranking
from .search.scoring import Distance
from .statistics.interval import check_confidence, identity_interval

Rows: TypeAlias = Float[Tensor, "_ D"] | Float[np.ndarray, "_ D"]
Names: TypeAlias = Shaped[Tensor, " _"] | Shaped[np.ndarray, " _"] | Iterable[Hashable]

_UNKNOWN = -1


@dataclass(frozen=True)
class EmbeddingEvaluation:
    """How good embeddings are.

    Attributes:
        measures: by name. `mean` of each is its value, and `values` are those of the queries, in
            the order in which they were given.
        intervals: lower and upper bound of each mean; None where none can be estimated.
        retrieval: what the search knows of each query, its nearest references among it.
    """

    measures: Mapping[str, Measured]
    intervals: Mapping[str, tuple[float, float] | None]
    retrieval: Retrieval


def evaluate_embeddings(
    query: Rows,
    query_identities: Names,
    reference: Rows | None = None,
    reference_identities: Names | None = None,
    *,
    query_cameras: Names | None = None,
    reference_cameras: Names | None = None,
    distance: Distance = "cosine",
    k: int = 5,
    vote: Vote = "majority",
    reranking: KReciprocal | None = None,
    confidence: float = 0.95,
) -> EmbeddingEvaluation:
    """Measure how well the nearest references tell who is in each query.

    Without references, each query is compared with all other queries (leave-one-out).

    Args:
        query: floating embeddings of the queries, as a tensor or an array.
        query_identities: who is in each: anything that can be told apart, such as text or integers.
        reference: embeddings of the references, of the same width and dtype.
        reference_identities: who is in each.
        query_cameras: which camera took each; None where unknown. The measures across cameras need
            those of all queries and references.
        reference_cameras: likewise.
        distance: what references rank by, "cosine", "euclidean" or "inner_product".
        k: number of references that vote.
        vote: how they vote, "majority", or under cosine "weighted".
        reranking: `KReciprocal` for the measures after re-ranking, too; needs references.
        confidence: of the intervals, as a share.

    Raises:
        ValueError: if the embeddings are not as `EmbeddingRetrieval` takes them, a sequence has
            another length than its embeddings, or an option is another.

    Example:
        >>> query = np.array([[1.0, 0.1], [0.2, 1.0], [0.6, 0.5]])
        >>> reference = np.array([[1.0, 0.0], [0.0, 1.0]])
        >>> result = evaluate_embeddings(query, ["ann", "bob", "bob"], reference, ["ann", "bob"])
        >>> result.measures["acc"].mean, result.measures["acc"].values
        (tensor(0.6667), tensor([1., 1., 0.], dtype=torch.float64))
        >>> result.retrieval.nearest.index[:, 0]
        tensor([0, 1, 0])
    """
    check_confidence(confidence)
    if (reference is None) != (reference_identities is None):
        raise ValueError("`reference` should come with `reference_identities`, got one of them")
    alone = reference is None
    check_reranking(reranking, leave_one_out=alone)
    metric = EmbeddingRetrieval(
        distance=distance, k=k, vote=vote, leave_one_out=alone, reranking=reranking
    )
    labels = _number(query_identities, reference_identities)
    cameras = _number(query_cameras, reference_cameras)
    for name, rows, label, camera in zip(
        ("query", "reference"), (query, reference), labels, cameras, strict=True
    ):
        if rows is not None and label is not None:
            _check_length(f"{name}_identities", label, name, rows)
            _check_length(f"{name}_cameras", camera, name, rows)
            is_query = name == "query" and not alone
            metric.update(_as_tensor(rows), label, is_query, cameras=camera)
    metric.compute()
    assert metric.retrieval is not None
    measured = measure_all(metric.retrieval)
    people = metric.retrieval.query_label.cpu().numpy()
    intervals = {}
    for each in measured:
        low, high = identity_interval(
            each.values.cpu().numpy(),
            people,
            weights=None if each.weights is None else each.weights.cpu().numpy(),
            confidence=confidence,
        )
        intervals[each.measure.name] = None if np.isnan(low) else (low, high)
    measures = {each.measure.name: each for each in measured}
    return EmbeddingEvaluation(measures, intervals, metric.retrieval)


def _number(*columns: Names | None) -> list[Int64[Tensor, " _"] | None]:
    """Number the names of all columns by one mapping, in the order of their text; -1 for None."""
    lists = [None if names is None else _as_list(names) for names in columns]
    known = dict.fromkeys(name for names in lists for name in names or () if name is not None)
    numbers = {name: number for number, name in enumerate(sorted(known, key=str))}
    return [
        None if names is None else torch.tensor([numbers.get(name, _UNKNOWN) for name in names])
        for names in lists
    ]


def _as_list(names: Names) -> list[Hashable]:
    return names.tolist() if isinstance(names, Tensor | np.ndarray) else list(names)


def _as_tensor(rows: Rows) -> Tensor:
    if isinstance(rows, Tensor):
        return rows
    array = np.asarray(rows)
    return torch.from_numpy(array if array.flags.writeable else array.copy())


def _check_length(name: str, numbers: Tensor | None, set_name: str, rows: Rows) -> None:
    if numbers is not None and len(numbers) != len(rows):
        raise ValueError(
            f"`{name}` should have {len(rows)} entries as `{set_name}` has rows, got {len(numbers)}"
        )
