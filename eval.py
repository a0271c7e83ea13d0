"""Evaluate a checkpoint: python eval.py [override ...]; python eval.py --help lists them."""

import sys

import hydra
from omegaconf import DictConfig

from src.utils.cli import exit_on_user_error


@hydra.main(version_base="1.3", config_path="configs", config_name="eval.yaml")
def main(cfg: DictConfig) -> None:
    """Compute test/acc of a checkpoint and log it to MLflow."""
    with exit_on_user_error(cfg.paths.output_dir):
        # Imports torch, Lightning and MLflow: seconds that --help should not cost.
        from src.eval import evaluate

        _, objects = evaluate(cfg)
    if objects["recorder"].failures:
        sys.exit(1)


if __name__ == "__main__":
    main()
