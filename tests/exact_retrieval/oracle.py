"""1-NN accuracy written to be read: one query, one reference, one coordinate at a time."""

import math
from bisect import bisect_right
from collections.abc import Sequence
from fractions import Fraction
from typing import NamedTuple

import torch
from torch import Tensor


def cosine(a: Sequence[float], b: Sequence[float]) -> float:
    dot = math.fsum(x * y for x, y in zip(a, b, strict=True))
    return dot / math.sqrt(math.fsum(x * x for x in a)) / math.sqrt(math.fsum(x * x for x in b))


def negative_squared_distance(a: Sequence[float], b: Sequence[float]) -> float:
    return -math.fsum((x - y) ** 2 for x, y in zip(a, b, strict=True))


def inner_product(a: Sequence[float], b: Sequence[float]) -> float:
    return math.fsum(x * y for x, y in zip(a, b, strict=True))


SIMILARITY = {
    "cosine": cosine,
    "euclidean": negative_squared_distance,
    "inner_product": inner_product,
}


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


def ranking(query: Tensor, reference: Tensor, distance: str) -> list[list[int]]:
    """Positions of all references for each query, the most similar first, then the lowest."""
    similarity = SIMILARITY[distance]
    references = reference.double().tolist()
    rankings = []
    for q in query.double().tolist():
        scores = [similarity(q, r) for r in references]
        rankings.append(sorted(range(len(scores)), key=lambda j: (-scores[j], j)))
    return rankings


def knn_accuracy(
    query: Tensor, query_labels: Tensor, reference: Tensor, labels: Tensor, k: int, weighted: bool
) -> float:
    """k-NN accuracy by cosine: labels vote, the label that came first wins a draw."""
    right = 0
    for q, truth, order in zip(
        query.tolist(), query_labels.tolist(), ranking(query, reference, "cosine"), strict=True
    ):
        votes: dict[int, float] = {}
        for j in order[:k]:
            vote = math.exp(cosine(q, reference[j].tolist()) / 0.07) if weighted else 1.0
            votes[int(labels[j])] = votes.get(int(labels[j]), 0.0) + vote
        right += max(votes, key=lambda label: votes[label]) == truth
    return right / len(query)


def market(
    query: Tensor,
    query_labels: Tensor,
    query_cameras: Tensor,
    reference: Tensor,
    labels: Tensor,
    cameras: Tensor,
    distance: str,
) -> dict[str, float]:
    """Market-1501's protocol, one query and one reference at a time."""
    sums = dict.fromkeys(["rank1", "rank5", "rank10", "mAP", "mINP"], 0.0)
    valid = 0
    for i, order in enumerate(ranking(query, reference, distance)):
        hits = []
        for j in order:
            same_person = labels[j] == query_labels[i]
            if not (same_person and cameras[j] == query_cameras[i]):
                hits.append(bool(same_person))
        if not any(hits):
            continue
        valid += 1
        for k in (1, 5, 10):
            sums[f"rank{k}"] += any(hits[:k])
        precisions = [sum(hits[: n + 1]) / (n + 1) for n, hit in enumerate(hits) if hit]
        sums["mAP"] += sum(precisions) / len(precisions)
        sums["mINP"] += precisions[-1]
    means = {name: total / valid for name, total in sums.items()} if valid else {}
    return {**means, "cross_camera_queries": valid}


def over_all_references(
    query: Tensor, query_labels: Tensor, reference: Tensor, labels: Tensor, distance: str
) -> dict[str, list[float]]:
    """Measures of each query that look at all references, NaN without a match."""
    values: dict[str, list[float]] = {"map_all": [], "r_precision": [], "map_at_r": []}
    for i, order in enumerate(ranking(query, reference, distance)):
        hits = [bool(labels[j] == query_labels[i]) for j in order]
        precisions = [sum(hits[: n + 1]) / (n + 1) for n in range(len(hits))]
        matches = sum(hits)
        if matches == 0:
            for column in values.values():
                column.append(math.nan)
            continue
        total = math.fsum(p for p, hit in zip(precisions, hits, strict=True) if hit)
        first = zip(precisions[:matches], hits[:matches], strict=True)
        values["map_all"].append(total / matches)
        values["r_precision"].append(sum(hits[:matches]) / matches)
        values["map_at_r"].append(math.fsum(p for p, hit in first if hit) / matches)
    return values


class Point(NamedTuple):
    threshold: float
    accepted: int
    false_accepts: int


def working_point(genuine: list[float], impostors: list[float], one_in: int) -> Point:
    """Try every similarity as a threshold, the lowest first."""
    genuine, impostors = sorted(genuine), sorted(impostors)
    for threshold in sorted({*genuine, *impostors}):
        false_accepts = above(impostors, threshold)
        if false_accepts * one_in <= len(impostors):
            return Point(threshold, above(genuine, threshold), false_accepts)
    raise AssertionError("nothing is above the greatest similarity")


def above(ascending: list[float], threshold: float) -> int:
    return len(ascending) - bisect_right(ascending, threshold)


def equal_error(genuine: list[float], impostors: list[float]) -> tuple[float, float]:
    """Walk along the ROC curve, from everything accepted to nothing, to where the errors cross."""
    genuine, impostors = sorted(genuine), sorted(impostors)
    false_reject, false_accept = Fraction(0), Fraction(1)
    for threshold in sorted({*genuine, *impostors}):
        rejected = 1 - Fraction(above(genuine, threshold), len(genuine))
        accepted = Fraction(above(impostors, threshold), len(impostors))
        if rejected >= accepted:
            missing, excess = false_accept - false_reject, rejected - accepted
            way = missing / (missing + excess)  # on the straight line between the two points
            return threshold, float(false_reject + way * (rejected - false_reject))
        false_reject, false_accept = rejected, accepted
    raise AssertionError("all are rejected at the greatest similarity")


def above_thresholds(
    query: Tensor, query_labels: Tensor, reference: Tensor, labels: Tensor, distance: str
) -> dict[str, float]:
    """Verification and the open set, as far as there are enough impostors."""
    genuine: list[float] = []
    impostors: list[float] = []
    unknown: list[float] = []
    right: list[float] = []
    known = 0
    references = reference.double().tolist()
    for q, label in zip(query.double().tolist(), query_labels, strict=True):
        scores = [SIMILARITY[distance](q, r) for r in references]
        is_same = (labels == label).tolist()
        for score, same in zip(scores, is_same, strict=True):
            (genuine if same else impostors).append(score)
        known += any(is_same)
        if not any(is_same):
            unknown.append(max(scores))
        elif is_same[scores.index(max(scores))]:
            right.append(max(scores))
    values: dict[str, float] = {"same_identity_pairs": len(genuine)}
    values["eer_threshold"], values["eer"] = equal_error(genuine, impostors)
    for rate, error, one_in, accept, total, reject in (
        ("tar", "far_1e-2", 100, genuine, len(genuine), impostors),
        ("tar", "far_1e-3", 1000, genuine, len(genuine), impostors),
        ("tar", "far_1e-4", 10000, genuine, len(genuine), impostors),
        ("tpir", "fpir_1e-1", 10, right, known, unknown),
        ("tpir", "fpir_1e-2", 100, right, known, unknown),
    ):
        if len(reject) >= one_in:
            point = working_point(accept, reject, one_in)
            values[f"{rate}_{error}"] = point.accepted / total
            values[f"{error}_threshold"] = point.threshold
            values[f"{error}_achieved"] = point.false_accepts / len(reject)
    return values
