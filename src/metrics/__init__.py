from src.metrics.cross_camera_retrieval import CrossCameraRetrieval
from src.metrics.nearest_neighbor_accuracy import NearestNeighborAccuracy

__all__ = ["CrossCameraRetrieval", "NearestNeighborAccuracy"]
