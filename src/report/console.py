"""What a run prints at its end."""

from collections.abc import Iterable, Mapping
from itertools import chain, groupby, repeat
from pathlib import Path

from rich.console import Console
from rich.panel import Panel
from rich.table import Table

from src.preprocessing import Preprocessing
from src.report.comparison import Comparison
from src.report.evaluation import FLIP, Estimate, Evaluation
from src.report.headlines import headlines
from src.report.wording import confidence_level, unreliable_intervals
from src.report.working_points import open_set_thresholds, verification_thresholds


def print_evaluation(console: Console, evaluation: Evaluation) -> None:
    """Print what was evaluated, and how good it is."""
    provenance = evaluation.provenance
    if provenance.notice:
        console.print(Panel(provenance.notice, style="bold yellow", expand=False))
    for name, estimate, meaning in headlines(evaluation):
        _print_line(console, name, f"{estimate.value:.5f}  {meaning}")
    for omission in evaluation.omissions:
        console.print(omission, style="yellow", soft_wrap=True, highlight=False, markup=False)
    table = Table(show_header=False)
    for name, size in (("reference", provenance.reference), ("query", provenance.query)):
        table.add_row(name, f"{size.identities:,} identities", f"{size.images:,} images")
    for _, section in groupby(evaluation.estimates, lambda each: each.measure.denominator):
        table.add_section()
        for estimate in section:
            table.add_row(
                f"test/{estimate.measure.name}",
                str(estimate),
                _brief(evaluation, estimate),
            )
    console.print(table)
    _print_thresholds(console, evaluation)
    if evaluation.confidence is not None:
        level = (
            f"{confidence_level(evaluation.confidence)} interval, had other people been in the test"
        )
        _print_line(console, "[low, high]", level)
    _print_unreliable(console, evaluation.interval_identities())
    _print_line(console, "Checkpoint", provenance.network)
    if provenance.preprocessing not in (None, Preprocessing()):
        _print_line(console, "Preprocessing", str(provenance.preprocessing))
    if provenance.flip:
        _print_line(console, "Mirror images", FLIP)
    if provenance.rounding is not None:
        _print_line(console, "Precision", provenance.rounding)
    if provenance.embeddings is not None:
        _print_line(console, "Embeddings", provenance.embeddings)
    for each in provenance.left_out:
        _print_line(console, "Left out", str(each))
    for remark in provenance.remarks.values():
        _print_line(console, "Warning", remark, "bold yellow")


def _brief(evaluation: Evaluation, estimate: Estimate) -> str:
    brief = evaluation.describe(estimate.measure.brief)
    if not estimate.measure.is_share:
        return brief
    right = int(evaluation.predictions[estimate.measure.name].sum())
    return f"{right:,} of {estimate.size:,} {brief}"


def _print_thresholds(console: Console, evaluation: Evaluation) -> None:
    heads = ["at", "accepted", "similarity above"]
    table = Table(*heads, title="Working points", title_justify="left")
    for section in (verification_thresholds(evaluation), open_set_thresholds(evaluation)):
        table.add_section()
        for each in section:
            table.add_row(each.errors, each.accepted, f"{each.similarity:.4g}")
    if table.row_count:
        console.print(table)


def print_training(
    console: Console, metrics: Mapping[str, float], best: str | Path, score: str, command: str
) -> None:
    """Print the last metrics, the best checkpoint and how to evaluate it.

    Args:
        console: where to print.
        metrics: by name.
        best: path of the best checkpoint.
        score: what it was best at, and how good.
        command: that evaluates it.
    """
    table = Table(title="Training", show_header=False, title_justify="left")
    for name, value in metrics.items():
        table.add_row(name, f"{value:.5f}")
    console.print(table)
    _print_line(console, "Best checkpoint", f"{best}   ({score})")
    _print_line(console, "Evaluate it", command)


def print_comparison(console: Console, comparison: Comparison) -> None:
    """Print how two checkpoints compare, the verdict last."""
    level = confidence_level(comparison.confidence)
    heads = ["", "baseline", "candidate", "difference", f"{level} interval"]
    table = Table(*heads, title="Candidate against baseline", title_justify="left")
    for name, value in comparison.means().items():
        means = f"{value.baseline:.5f}", f"{value.candidate:.5f}", f"{value.difference:+.5f}"
        bounds = (
            "not given" if value.interval is None else "{:+.5f} to {:+.5f}".format(*value.interval)
        )
        table.add_row(name, *means, bounds)
    console.print(table)
    accuracy = comparison.accuracy
    won, lost = len(comparison.won), len(comparison.lost)
    counts = f"{won:,} won, {lost:,} lost, {accuracy.queries - won - lost:,} alike"
    of = f"{accuracy.queries:,} queries of {accuracy.identities:,} identities"
    _print_line(console, "Right answers", f"{counts}, of {of}")
    _print_unreliable(console, comparison.interval_identities())
    _print_line(console, "McNemar's test", f"p = {comparison.p_value:.4g}")
    _print_line(console, "Verdict", comparison.verdict)


def print_recording(
    console: Console, written: Iterable[Path], how_to_open: Iterable[str], failures: Iterable[str]
) -> None:
    """Print what was written, how to open the runs, and the message of every logger that failed."""
    for label, path in zip(chain(["Written to"], repeat("")), written, strict=False):
        _print_line(console, label, path)
    for line in how_to_open:
        _print_line(console, "Open in MLflow", line)
    for failure in failures:
        console.print(f"NOT recorded: {failure}", style="bold red", soft_wrap=True, markup=False)


def _print_unreliable(console: Console, identities: Mapping[str, int]) -> None:
    warning = unreliable_intervals(identities)
    if warning:
        _print_line(console, "Few identities", warning)


def _print_line(console: Console, label: str, text: str | Path, style: str | None = None) -> None:
    line = f"{label:16}  {text}"
    console.print(line, soft_wrap=True, highlight=False, markup=False, style=style)
