from src.metrics.functional.search import Neighbors, merge_neighbors, nearest_references

__all__ = ["Neighbors", "merge_neighbors", "nearest_references"]
