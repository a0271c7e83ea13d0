"""The comparison of two evaluated checkpoints, from a configuration to a verdict."""

from pathlib import Path
from typing import Any

from omegaconf import DictConfig, OmegaConf
from rich.console import Console

from src.report.comparison import CHECKPOINTS, compare_runs
from src.report.comparison_folder import write_comparison
from src.report.comparison_page import write_comparison_page
from src.report.console import print_comparison, print_recording
from src.report.evaluated_run import EvaluatedRun, read_run
from src.tracking.recorder import RunRecorder
from src.tracking.run_tags import describe_run, multirun_tags
from src.utils.configuration import as_plain_dict
from src.utils.extras import apply_extras
from src.utils.instantiation import instantiate_loggers
from src.utils.options import check_options

_USAGE = "python compare.py baseline=<folder or run id> candidate=<folder or run id>"


def compare(cfg: DictConfig) -> tuple[dict[str, float], dict[str, Any]]:
    """Say whether the candidate checkpoint is better than the baseline, on the same queries.

    The result is printed and written to `cfg.paths.output_dir` before it is sent to any logger.

    Args:
        cfg: configuration composed from `configs/compare.yaml`.

    Returns:
        The metrics, "compare/difference" and "compare/p_value" among them, and the objects that
        were built: "cfg", "baseline", "candidate", "queries", "comparison", "logger" and
        "recorder". Bounds of an interval that cannot be given are left out.

    Raises:
        FileNotFoundError: if an evaluation, or a file of it, is not where the configuration says.
        ValueError: if one of them is not as it should be, or their data differ.
    """
    check_options(cfg)
    apply_extras(cfg)
    runs = _read_runs(cfg)
    comparison = compare_runs(**runs, confidence=cfg.confidence)
    folder = Path(cfg.paths.output_dir)
    print_comparison(Console(), comparison)
    files = write_comparison(comparison, folder)
    page, *pictures = write_comparison_page(comparison, folder)
    metrics = comparison.metrics()
    loggers = instantiate_loggers(cfg.get("logger"))
    tags = _tags(cfg, runs, comparison.verdict)
    baseline, candidate = (runs[name].evaluation.provenance for name in CHECKPOINTS)
    title = f"{candidate.short_name} against {baseline.title}"
    with RunRecorder(loggers, as_plain_dict(cfg), tags, title=title, folder=folder) as recorder:
        recorder.log_dataset(
            baseline.data_dir,
            baseline.dataset_digest,
            {"query_images": baseline.query.images},
            "test",
        )
        recorder.log_metrics(metrics)
        recorder.describe(comparison.summary)
        for path in (*files, page, *pictures):
            recorder.log_artifact(path)
    print_recording(Console(), [page], recorder.how_to_open(), recorder.failures)
    return metrics, {
        "cfg": cfg,
        **runs,
        "queries": comparison.queries,
        "comparison": comparison,
        "logger": loggers,
        "recorder": recorder,
    }


def _read_runs(cfg: DictConfig) -> dict[str, EvaluatedRun]:
    for name in CHECKPOINTS:
        if OmegaConf.is_missing(cfg, name) or cfg[name] is None:
            raise ValueError(f"`{name}` should name an evaluation, got none: {_USAGE}")
    tracking_uri = OmegaConf.select(cfg, "logger.mlflow.tracking_uri")
    # Hydra takes digits alone for a number.
    return {name: read_run(name, str(cfg[name]), tracking_uri) for name in CHECKPOINTS}


def _tags(cfg: DictConfig, runs: dict[str, EvaluatedRun], verdict: str) -> dict[str, str]:
    tags = {name: run.evaluation.provenance.run_tags() for name, run in runs.items()}
    return {
        **describe_run(cfg.paths.root_dir, cfg.tags, {}),
        **multirun_tags(),
        **{name: run.name for name, run in runs.items()},
        **{f"{name}_checkpoint_sha256": tags[name]["checkpoint_sha256"] for name in CHECKPOINTS},
        "dataset_digest": tags["baseline"]["dataset_digest"],
        "verdict": verdict,
    }
