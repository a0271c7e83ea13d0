"""Pedestrian crops in Market-1501 naming, drawn by code: the real ones may not be given away."""

from src.datamodules.components.sample.dataset import generate_sample, list_shots, role

__all__ = ["generate_sample", "list_shots", "role"]
