from src.metrics.functional.neighbors import Neighbors, merge_neighbors
from src.metrics.functional.search import nearest_references

__all__ = ["Neighbors", "merge_neighbors", "nearest_references"]
