"""Train a network with ArcFace: python train.py [override ...]; --help lists them."""

import sys

import hydra
from omegaconf import DictConfig

from src.utils.cli import exit_on_user_error


@hydra.main(version_base="1.3", config_path="configs", config_name="train.yaml")
def main(cfg: DictConfig) -> None:
    """Train a network, write its checkpoints and log the run to MLflow."""
    with exit_on_user_error(cfg.paths.output_dir):
        # Imports torch, Lightning and MLflow: seconds that --help should not cost.
        from src.train import train

        _, objects = train(cfg)
    if objects["recorder"].failures:
        sys.exit(1)


if __name__ == "__main__":
    main()
