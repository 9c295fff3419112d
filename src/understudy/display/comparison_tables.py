"""The end of a comparison in the terminal: two tables per number of labels, the conclusions, then the files."""

from __future__ import annotations

from typing import TYPE_CHECKING

from understudy.core.text import capitalized, p_value, percent_range, signed_points
from understudy.display.console import say
from understudy.display.tables import new_table

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table

    from understudy.comparison.result import ComparisonResult, Summary
    from understudy.evaluation.intervals import Interval

_MAX_WIDTH = 1000  # wider than any table, so that measuring one never cuts it
_LEGEND = (
    "sd: standard deviation over seeds. gain: over supervised on the same seeds; p is Holm-corrected over all "
    "comparisons, d is Cohen's d (mean gain over its standard deviation). rank: mean rank, 1 is best. used: share of "
    "the unlabeled images used. correct: accuracy of their pseudo-labels at the end of training."
)
_ABLATION_LEGEND = (
    "Each row adds its ingredient to those above; the row with strong augmentation is supervised in a comparison. "
    "step: gain over the row above on the same seeds; p is Holm-corrected over all steps. First row:"
)
_FILES = {
    "report.html": "the report: open it in a browser",
    "comparison.json": "every number and sentence",
    "runs.csv": "one row per run",
    "summary.csv": "one row per method and number of labels",
    "runs": "each run's weights, history and predictions of the test images",
}


def print_report(console: Console, comparison: ComparisonResult) -> None:
    """Print the tables, conclusions and files of a comparison."""
    from understudy.comparison.conclusions import labels_text

    num_test = next(run.figures.num_test for run in comparison.runs if run.figures)
    many = f"{len(comparison.seeds)} seeds" if len(comparison.seeds) > 1 else "1 seed"
    for count in comparison.num_labels:
        rows = [summary for summary in comparison.summaries if summary.num_labels == count]
        if comparison.upper_bound is not None:
            rows.append(comparison.upper_bound.summary)
        title = labels_text(count)
        say(console)
        say(console, f"{capitalized(title)}, {many} of {comparison.budget} per run; in % of {num_test:,} test images")
        say(console)
        for table in [ablation_table(comparison)] if comparison.ablation else [accuracy_table(rows), cost_table(rows)]:
            _print_whole(console, table)
            say(console)
    say(console, f"{_ABLATION_LEGEND} {comparison.ablation[0].settings}." if comparison.ablation else _LEGEND)
    say(console)
    for sentence in comparison.sentences:
        say(console, sentence)
    if comparison.folder is not None:
        say(console)
        say(console, f"Saved in {comparison.folder}:")
        for name, what in _FILES.items():
            if not (comparison.folder / name).exists():
                continue
            say(console, f"  {name:<16} {what}")


def _print_whole(console: Console, table: Table) -> None:
    """Print a table at its full width even where lines are shorter: a cut number would be a wrong number."""
    width = console.width
    needed = console.measure(table, options=console.options.update(max_width=_MAX_WIDTH)).maximum
    console.width = max(width, needed)
    try:
        console.print(table, crop=False)
    finally:
        console.width = width


def accuracy_table(rows: list[Summary]) -> Table:
    """Accuracy of each method, its spread over label draws, and its gain over supervised."""
    table = new_table()
    table.add_column("method", no_wrap=True)
    for name in ("mean", "sd", "95 % interval", "worst", "gain", "95 % interval", "p (Holm)", "d"):
        table.add_column(name, justify="right", no_wrap=True)
    for summary in rows:
        gain = summary.gain
        table.add_row(
            summary.method,
            "failed" if summary.accuracy is None else _percent(summary.accuracy),
            _percent(summary.deviation),
            _interval(summary.interval),
            _percent(summary.worst),
            "-" if gain is None else signed_points(gain.difference),
            "-" if gain is None or gain.interval is None else _interval(gain.interval, signed=True),
            "-" if gain is None or gain.p_holm is None else p_value(gain.p_holm),
            "-" if gain is None or gain.effect is None else f"{gain.effect:.1f}",
        )
    return table


def ablation_table(comparison: ComparisonResult) -> Table:
    """Accuracy of each step of an ablation, and its gain over the step before."""
    table = new_table()
    for name in ("ingredient", "settings"):
        table.add_column(name, no_wrap=True)
    for name in ("mean", "95 % interval", "step", "95 % interval", "p (Holm)", "CPU-s"):
        table.add_column(name, justify="right", no_wrap=True)
    cost = {summary.method: summary.cpu_s for summary in comparison.summaries}
    for place, step in enumerate(comparison.ablation):
        gain = step.gain
        table.add_row(
            f"+ {step.adds}" if place else step.adds,
            step.settings if place else "",
            "failed" if step.accuracy is None else _percent(step.accuracy),
            _interval(step.interval),
            "-" if gain is None else signed_points(gain.difference),
            "-" if gain is None else _interval(gain.interval, signed=True),
            "-" if gain is None or gain.p_holm is None else p_value(gain.p_holm),
            _number(cost[step.name], 1),
        )
    return table


def cost_table(rows: list[Summary]) -> Table:
    """Ranks, balanced accuracy, cost, and use of the unlabeled images."""
    table = new_table()
    table.add_column("method", no_wrap=True)
    validated = any(summary.validation_accuracy is not None for summary in rows)
    names = ["rank", "balanced", "CPU-s", "seconds", "steps", "used", "correct", *(["validation"] if validated else [])]
    for name in names:
        table.add_column(name, justify="right", no_wrap=True)
    for summary in rows:
        cells = [
            "-" if summary.mean_rank is None else f"{summary.mean_rank:.2f}",
            _percent(summary.balanced_accuracy),
            _number(summary.cpu_s, 1),
            _number(summary.wall_s, 1),
            _number(summary.steps, 0),
            _percent(summary.mask_ratio),
            _percent(summary.pseudo_label_accuracy),
            *([_percent(summary.validation_accuracy)] if validated else []),
        ]
        table.add_row(summary.method, *cells)
    return table


def _percent(share: float | None) -> str:
    return "-" if share is None else f"{100 * share:.1f}"


def _number(value: float | None, digits: int) -> str:
    return "-" if value is None else f"{value:,.{digits}f}"


def _interval(interval: Interval | None, *, signed: bool = False) -> str:
    if interval is None:
        return "-"
    return percent_range(interval.low, interval.high, signed=signed)
