"""What a run prints at its end."""

from collections.abc import Iterable, Mapping
from itertools import chain, repeat
from pathlib import Path

from rich.console import Console
from rich.panel import Panel
from rich.table import Table

from src.datamodules.market_datamodule import MarketDataModule
from src.report.comparison import Comparison
from src.report.run_folder import RunResult
from src.tracking.recorder import RunRecorder


def print_result(
    console: Console,
    result: RunResult,
    datamodule: MarketDataModule,
    distance: str,
) -> None:
    """Print what was evaluated, and how well it did.

    Args:
        console: where to print.
        result: with "test/acc", "test/queries" and what else was logged.
        datamodule: after `setup("test")`.
        distance: that of "test/acc".
    """
    metrics = result.metrics
    if datamodule.notice:
        console.print(Panel(datamodule.notice, style="bold yellow", expand=False))
    table = Table(title="1-NN accuracy", show_header=False, title_justify="left")
    for image_set in (datamodule.reference_set, datamodule.query_set):
        identities, images = f"{len(image_set.identities):,}", f"{len(image_set):,}"
        table.add_row(image_set.name, f"{identities} identities", f"{images} images")
    table.add_section()
    queries = round(metrics["test/queries"])
    for name, how in (
        ("test/acc", f"by {distance}"),
        ("test/acc_euclidean", "by euclidean"),
        ("test/knn_acc", "by vote"),
    ):
        right = round(metrics[name] * queries)
        table.add_row(name, _with_interval(metrics, name), f"{right:,} of {queries:,} right {how}")
    _add_retrieval(table, metrics)
    console.print(table)
    if result.confidence is not None:
        level = f"{100 * result.confidence:g} % interval, by resampling identities"
        _print_line(console, "[low, high]", level)
    _print_line(console, "Checkpoint", result.checkpoint or "none: random weights")


def _add_retrieval(table: Table, metrics: Mapping[str, float]) -> None:
    if "test/mAP" not in metrics:
        return
    table.add_section()
    queries = f"{round(metrics['test/cross_camera_queries']):,}"
    for name, meaning in (
        ("test/rank1", f"of {queries} seen by other cameras"),
        ("test/rank5", "found among the first 5"),
        ("test/rank10", "among the first 10"),
        ("test/mAP", "mean average precision"),
        ("test/mINP", "mean inverse negative penalty"),
    ):
        table.add_row(name, _with_interval(metrics, name), meaning)


def _with_interval(metrics: Mapping[str, float], name: str) -> str:
    value = f"{metrics[name]:.5f}"
    if f"{name}_ci_low" not in metrics:
        return value
    return f"{value}  [{metrics[f'{name}_ci_low']:.3f}, {metrics[f'{name}_ci_high']:.3f}]"


def print_training(
    console: Console, metrics: Mapping[str, float], best: str | Path, score: str
) -> None:
    """Print the last metrics, the best checkpoint and how to evaluate it.

    Args:
        console: where to print.
        metrics: by name.
        best: path of the best checkpoint.
        score: what it was best at, and how good.
    """
    table = Table(title="Training", show_header=False, title_justify="left")
    for name, value in metrics.items():
        table.add_row(name, f"{value:.5f}")
    console.print(table)
    _print_line(console, "Best checkpoint", f"{best}   ({score})")
    _print_line(console, "Evaluate it", f"python eval.py ckpt_path={best}")


def print_comparison(console: Console, comparison: Comparison) -> None:
    """Print what two checkpoints are to each other, the verdict last."""
    level = f"{100 * comparison.confidence:g} % interval"
    heads = ["", "baseline", "candidate", "difference", level]
    table = Table(*heads, title="Candidate against baseline", title_justify="left")
    for name, value in comparison.values():
        means = f"{value.baseline:.5f}", f"{value.candidate:.5f}", f"{value.difference:+.5f}"
        bounds = (
            "not given" if value.interval is None else "{:+.5f} to {:+.5f}".format(*value.interval)
        )
        table.add_row(name, *means, bounds)
    console.print(table)
    accuracy = comparison.accuracy
    alike = accuracy.queries - comparison.won - comparison.lost
    counts = f"{comparison.won:,} won, {comparison.lost:,} lost, {alike:,} alike"
    of = f"{accuracy.queries:,} queries of {accuracy.identities:,} identities"
    _print_line(console, "Right answers", f"{counts}, of {of}")
    _print_line(console, "McNemar's test", f"p = {comparison.p_value:.4g}")
    _print_line(console, "Verdict", comparison.verdict)


def print_recording(console: Console, written: Iterable[Path], recorder: RunRecorder) -> None:
    """Print what was written, how to open the runs, and which loggers failed."""
    for label, path in zip(chain(["Written to"], repeat("")), written, strict=False):
        _print_line(console, label, path)
    for line in recorder.how_to_open():
        _print_line(console, "Open in MLflow", line)
    for failure in recorder.failures:
        console.print(f"NOT recorded: {failure}", style="bold red", soft_wrap=True, markup=False)


def _print_line(console: Console, label: str, text: str | Path) -> None:
    console.print(f"{label:16}  {text}", soft_wrap=True, highlight=False, markup=False)
