"""Labelled embeddings, some hard to tell apart, and a way to give them to a metric."""

from typing import Any, NamedTuple

import torch
from torch import Tensor

DISTANCES = ["cosine", "euclidean"]


class Data(NamedTuple):
    reference: Tensor
    reference_labels: Tensor
    query: Tensor
    query_labels: Tensor


def make_data(references: int = 60, queries: int = 25, width: int = 8, people: int = 6) -> Data:
    """People as clusters wide enough to overlap: some queries are right, some wrong."""
    generator = torch.Generator().manual_seed(references * 1000 + queries)
    centres = torch.randn(people, width, generator=generator)

    def draw(count: int) -> tuple[Tensor, Tensor]:
        labels = torch.arange(count) % people
        scale = 1 + 4 * torch.rand(count, 1, generator=generator)
        noise = 1.2 * torch.randn(count, width, generator=generator)
        return (centres[labels] + noise) * scale, labels * 100

    return Data(*draw(references), *draw(queries))


def fill(metric: Any, data: Data, batch_size: int = 7, *, with_indices: bool = True) -> Any:
    for is_query, embeddings, labels in (
        (False, data.reference, data.reference_labels),
        (True, data.query, data.query_labels),
    ):
        for rows in torch.arange(len(labels)).split(batch_size):
            indices = rows if with_indices else None
            metric.update(embeddings[rows], labels[rows], is_query=is_query, indices=indices)
    return metric
