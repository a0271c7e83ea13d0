"""Train a network with ArcFace: python train.py [override ...]; --help lists them."""

import sys

import hydra
from omegaconf import DictConfig

from src.utils.arguments import prepare_arguments
from src.utils.cli import run_task


@hydra.main(version_base="1.3", config_path="configs", config_name="train.yaml")
def main(cfg: DictConfig) -> None:
    """Train a network, write its checkpoints and log the run to MLflow."""
    run_task("src.train.train", cfg)


if __name__ == "__main__":
    sys.argv = prepare_arguments(sys.argv)
    main()
