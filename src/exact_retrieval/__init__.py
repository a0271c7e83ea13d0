"""Exact nearest-neighbour retrieval: search, measures and their uncertainty."""

from .evaluation import EmbeddingEvaluation, evaluate_embeddings
from .metrics.embedding_retrieval import EmbeddingRetrieval
from .metrics.nearest_neighbor_accuracy import NearestNeighborAccuracy
from .retrieval.reranking import KReciprocal
from .retrieval.retrieval import Retrieval, retrieve
from .search.nearest import nearest_references
from .statistics.interval import identity_interval
from .statistics.paired_difference import PairedDifference, paired_difference

__all__ = [
    "EmbeddingEvaluation",
    "EmbeddingRetrieval",
    "KReciprocal",
    "NearestNeighborAccuracy",
    "PairedDifference",
    "Retrieval",
    "evaluate_embeddings",
    "identity_interval",
    "nearest_references",
    "paired_difference",
    "retrieve",
]
