"""Evaluate a checkpoint: python eval.py [override ...]; --help lists them."""

import sys

import hydra
from omegaconf import DictConfig

from src.utils.arguments import prepare_arguments
from src.utils.cli import run_task


@hydra.main(version_base="1.3", config_path="configs", config_name="eval.yaml")
def main(cfg: DictConfig) -> None:
    """Compute test/acc of a checkpoint and log it to MLflow."""
    run_task("src.eval.evaluate", cfg)


if __name__ == "__main__":
    sys.argv = prepare_arguments(sys.argv)
    main()
