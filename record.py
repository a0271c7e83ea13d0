"""Record a run later whose loggers failed: python record.py run=<folder>; --help says more."""

import sys

import hydra
from omegaconf import DictConfig

from src.utils.arguments import prepare_arguments
from src.utils.cli import run_task


@hydra.main(version_base="1.3", config_path="configs", config_name="record.yaml")
def main(cfg: DictConfig) -> None:
    """Send a run to MLflow that could not be sent when it ended."""
    run_task("src.record.record", cfg)


if __name__ == "__main__":
    sys.argv = prepare_arguments(sys.argv)
    main()
