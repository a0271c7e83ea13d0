"""The bundled sample: pedestrians drawn by code, for those without data."""

from pathlib import Path
from typing import Any

from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from src.datamodules.components.sample import generate_sample
from src.datamodules.market_datamodule import MarketDataModule

_DEFAULTS = {"identities": 180, "sample_seed": 0}


class SampleDataModule(MarketDataModule):
    """The four sets of Market-1501 with people drawn by code when they are first needed.

    Args:
        data_dir: folder of the default sample. A sample with another number of identities or
            another seed is stored beside it, in `<data_dir>_<identities>_<sample_seed>`.
        identities: number of people in all sets together.
        sample_seed: each seed gives other people.
        options: as for `MarketDataModule`.
    """

    notice = (
        "This is the bundled sample: people drawn by code, not Market-1501. The numbers say "
        "nothing about real images."
    )

    def __init__(
        self,
        data_dir: str | Path = "data/sample",
        identities: int = _DEFAULTS["identities"],
        sample_seed: int = _DEFAULTS["sample_seed"],
        **options: Any,
    ) -> None:
        data_dir = Path(data_dir)
        if {"identities": identities, "sample_seed": sample_seed} != _DEFAULTS:
            data_dir = data_dir.with_name(f"{data_dir.name}_{identities}_{sample_seed}")
        super().__init__(data_dir, **options)
        self.identities = identities
        self.sample_seed = sample_seed

    def setup(self, stage: str) -> None:
        """Draw the sample if it does not exist, then list the images that a stage needs.

        Args:
            stage: "fit", "validate" or "test".

        Raises:
            FileExistsError: if `data_dir` holds something else.
            ValueError: if the number of identities is out of range.
        """
        columns = (BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
        is_made = self.data_dir.exists()
        with Progress(TextColumn("drawing the sample"), *columns, disable=is_made) as progress:
            task = progress.add_task("", total=None)
            generate_sample(
                self.data_dir,
                identities=self.identities,
                seed=self.sample_seed,
                progress=lambda done, total: progress.update(task, completed=done, total=total),
            )
        super().setup(stage)
