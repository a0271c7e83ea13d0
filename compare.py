"""Compare two checkpoints: python compare.py baseline=<run> candidate=<run>; --help says more."""

import sys

import hydra
from omegaconf import DictConfig

from src.utils.arguments import prepare_arguments
from src.utils.cli import run_task


@hydra.main(version_base="1.3", config_path="configs", config_name="compare.yaml")
def main(cfg: DictConfig) -> None:
    """Say whether one evaluated checkpoint is better than another, and log it to MLflow."""
    run_task("src.compare.compare", cfg)


if __name__ == "__main__":
    sys.argv = prepare_arguments(sys.argv)
    main()
