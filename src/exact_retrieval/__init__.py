"""Exact nearest-neighbour retrieval: search, measures and their uncertainty."""

from .metrics.embedding_retrieval import EmbeddingRetrieval
from .metrics.nearest_neighbor_accuracy import NearestNeighborAccuracy
from .retrieval.retrieval import Retrieval, retrieve
from .search.nearest import nearest_references

__all__ = [
    "EmbeddingRetrieval",
    "NearestNeighborAccuracy",
    "Retrieval",
    "nearest_references",
    "retrieve",
]
