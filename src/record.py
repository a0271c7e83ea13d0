"""Record a run later whose loggers failed."""

from pathlib import Path
from typing import Any

from omegaconf import DictConfig, OmegaConf
from rich.console import Console

from src.report.console import print_recording
from src.tracking.journal import JOURNAL_FILE, read_journal
from src.tracking.recorder import RunRecorder
from src.utils.extras import apply_extras
from src.utils.instantiation import instantiate_loggers
from src.utils.options import check_options


def record(cfg: DictConfig) -> tuple[dict[str, float], dict[str, Any]]:
    """Send what a run left in its folder when a logger had failed, and delete that file.

    Args:
        cfg: configuration composed from `configs/record.yaml`.

    Returns:
        No metrics, and the objects that were built: "logger" and "recorder".

    Raises:
        FileNotFoundError: if the run was recorded, or there is no such run.
        ValueError: if no run is named, or its file is damaged.
    """
    check_options(cfg)
    apply_extras(cfg)
    if OmegaConf.is_missing(cfg, "run"):
        raise ValueError("`run` should name a folder, got none: python record.py run=<folder>")
    folder = Path(cfg.run)
    journal = read_journal(folder)
    cfg.task_name = journal.parameters["task_name"]  # names the experiment
    loggers = instantiate_loggers(cfg.get("logger"))
    with RunRecorder(loggers, journal.parameters, journal.tags, title=journal.title) as recorder:
        for method, arguments, options in journal.calls:
            getattr(recorder, method)(*arguments, **options)
    if not recorder.failures:
        (folder / JOURNAL_FILE).unlink()
    print_recording(Console(), [], recorder.how_to_open(), recorder.failures)
    return {}, {"logger": loggers, "recorder": recorder}
