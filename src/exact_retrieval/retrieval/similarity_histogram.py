"""How similar queries are to references of their own and of other identities."""

from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import torch

from ..search.inputs import row_norms
from ..search.ranking import approximate_similarity
from ..search.scoring import Distance
from .spread_sets import SpreadSets

_QUERIES = 256
_REFERENCES = 4096
_BINS = 400


class SimilarityHistogram(NamedTuple):
    """Counts of all pairs of a query and a reference, by similarity.

    Attributes:
        edges: [n + 1], ascending bounds of the bins; the last bin holds its upper bound.
        same: [n], pairs of one identity.
        different: [n], pairs of two identities.
    """

    edges: npt.NDArray[np.float64]
    same: npt.NDArray[np.int64]
    different: npt.NDArray[np.int64]


@torch.no_grad()
def count_similarities(sets: SpreadSets, *, distance: Distance) -> SimilarityHistogram:
    """Count the pairs of all queries and references in bins of equal width.

    The bins span the range that the norms of the embeddings allow: [-1, 1] for cosine, [-a, a] with
    a = max|q| max|r| for inner product, [-(max|q| + max|r|)^2, 0] for euclidean. Similarities are
    products in float64, so that a pair within their rounding error of an edge may count on either
    side of it.

    Args:
        sets: queries and references.
        distance: what similarities are by.

    Returns:
        The same counts on every process.
    """
    low, high = _range(sets, distance)
    same = torch.zeros(_BINS, dtype=torch.int64, device=sets.query_index.device)
    both = torch.zeros_like(same)
    for query in sets.queries(_QUERIES):
        for reference in sets.references():
            for rows in torch.arange(len(reference.label)).split(_REFERENCES):
                part = slice(int(rows[0]), int(rows[-1]) + 1)
                similarity = approximate_similarity(
                    query.embedding, reference.embedding[part], distance=distance
                ).clamp_(low, high)
                is_same = query.label[:, None] == reference.label[part]
                both += similarity.histc(_BINS, low, high).long()
                same += similarity[is_same].histc(_BINS, low, high).long()
            del reference  # before the next block is made
    both, same = sets.processes.total(torch.stack([both, same]))
    edges = np.linspace(low, high, _BINS + 1)
    return SimilarityHistogram(edges, same.cpu().numpy(), (both - same).cpu().numpy())


def _range(sets: SpreadSets, distance: Distance) -> tuple[float, float]:
    """What all similarities are between."""
    if distance == "cosine":
        return -1.0, 1.0
    query = torch.stack([row_norms(block.embedding).max() for block in sets.queries()]).max()
    here = [row_norms(block.embedding).max() for block in sets.references()]
    reference = sets.processes.stack(torch.stack([query.new_zeros(()), *here]).max()).max()
    if distance == "inner_product":
        return -float(query * reference), float(query * reference)
    return -float((query + reference).square()), 0.0
