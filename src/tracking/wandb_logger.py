"""Lightning's logger for Weights & Biases, with one run for each task."""

from pytorch_lightning import loggers


class WandbLogger(loggers.WandbLogger):
    """A logger whose run ends with the task, even if the process goes on to another."""

    def open_run(self, name: str | None) -> None:
        """Create the run.

        Args:
            name: of the run, unless the constructor was given one; None lets wandb invent it.
        """
        self._wandb_init["name"] = self._wandb_init["name"] or name
        _ = self.experiment  # reading it creates the run

    def describe(self, text: str) -> None:
        """Set the notes of the run."""
        self.experiment.notes = text

    def finalize(self, status: str) -> None:
        """Close the run."""
        super().finalize(status)
        self.experiment.finish(exit_code=0 if status == "success" else 1)
