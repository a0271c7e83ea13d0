"""1-NN accuracy written to be read: one query, one reference, one coordinate at a time."""

import math
from collections.abc import Sequence

import torch
from torch import Tensor


def cosine(a: Sequence[float], b: Sequence[float]) -> float:
    dot = math.fsum(x * y for x, y in zip(a, b, strict=True))
    return dot / math.sqrt(math.fsum(x * x for x in a)) / math.sqrt(math.fsum(x * x for x in b))


def negative_squared_distance(a: Sequence[float], b: Sequence[float]) -> float:
    return -math.fsum((x - y) ** 2 for x, y in zip(a, b, strict=True))


SIMILARITY = {"cosine": cosine, "euclidean": negative_squared_distance}


def nearest(query: Tensor, reference: Tensor, distance: str) -> list[int]:
    """Position of each query's nearest reference, the lowest where several are equally near."""
    similarity = SIMILARITY[distance]
    references = reference.double().tolist()
    found = []
    for q in query.double().tolist():
        scores = [similarity(q, r) for r in references]
        found.append(scores.index(max(scores)))
    return found


def nearest_label(query: Tensor, reference: Tensor, labels: Tensor, distance: str) -> int:
    return int(labels[nearest(query.unsqueeze(0), reference, distance)[0]])


def accuracy(
    query: Tensor, query_labels: Tensor, reference: Tensor, labels: Tensor, distance: str
) -> float:
    right = labels[torch.tensor(nearest(query, reference, distance))] == query_labels
    return right.sum().item() / len(right)
