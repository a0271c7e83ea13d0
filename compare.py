"""Compare two checkpoints: python compare.py baseline=<run> candidate=<run>; --help says more."""

import sys

import hydra
from omegaconf import DictConfig

from src.utils.cli import exit_on_user_error


@hydra.main(version_base="1.3", config_path="configs", config_name="compare.yaml")
def main(cfg: DictConfig) -> None:
    """Say whether one evaluated checkpoint is better than another, and log it to MLflow."""
    with exit_on_user_error(cfg.paths.output_dir):
        # Imports torch, Lightning and MLflow: seconds that --help should not cost.
        from src.compare import compare

        _, objects = compare(cfg)
    if objects["recorder"].failures:
        sys.exit(1)


if __name__ == "__main__":
    main()
