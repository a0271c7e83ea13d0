"""Exact nearest-neighbour retrieval: search, measures and their uncertainty."""

from .evaluation import EmbeddingEvaluation, evaluate_embeddings
from .metrics.embedding_retrieval import EmbeddingRetrieval
from .metrics.nearest_neighbor_accuracy import NearestNeighborAccuracy
from .retrieval.retrieval import Retrieval, retrieve
from .search.nearest import nearest_references

__all__ = [
    "EmbeddingEvaluation",
    "EmbeddingRetrieval",
    "NearestNeighborAccuracy",
    "Retrieval",
    "evaluate_embeddings",
    "nearest_references",
    "retrieve",
]
