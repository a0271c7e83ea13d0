from src.metrics.nearest_neighbor_accuracy import NearestNeighborAccuracy

__all__ = ["NearestNeighborAccuracy"]
