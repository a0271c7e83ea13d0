"""Exact nearest-neighbour retrieval: search, measures and their uncertainty."""

from .metrics.cross_camera_retrieval import CrossCameraRetrieval
from .metrics.nearest_neighbor_accuracy import NearestNeighborAccuracy
from .search.nearest import nearest_references

__all__ = ["CrossCameraRetrieval", "NearestNeighborAccuracy", "nearest_references"]
