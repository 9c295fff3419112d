"""The end of a comparison in the terminal: two tables per number of labels, the conclusions, then the files."""

from __future__ import annotations

from typing import TYPE_CHECKING

from understudy.core.text import capitalized, p_value, percent_range, signed_points
from understudy.display.console import say
from understudy.display.tables import new_table

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table

    from understudy.comparison.result import Comparison, Summary
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


def print_report(console: Console, found: Comparison) -> None:
    """Print the tables, conclusions and files of a comparison."""
    from understudy.comparison.conclusions import labels_text

    num_test = next(run.figures.num_test for run in found.runs if run.figures)
    many = f"{len(found.seeds)} seeds" if len(found.seeds) > 1 else "1 seed"
    for count in found.num_labels:
        rows = [one for one in found.summaries if one.num_labels == count]
        if found.upper_bound is not None:
            rows.append(found.upper_bound.summary)
        title = labels_text(count)
        say(console)
        say(console, f"{capitalized(title)}, {many} of {found.budget} per run; in % of {num_test:,} test images")
        say(console)
        for table in [ablation_table(found)] if found.ablation else [accuracy_table(rows), cost_table(rows)]:
            _print_whole(console, table)
            say(console)
    say(console, f"{_ABLATION_LEGEND} {found.ablation[0].settings}." if found.ablation else _LEGEND)
    say(console)
    for sentence in found.sentences:
        say(console, sentence)
    if found.folder is not None:
        say(console)
        say(console, f"Saved in {found.folder}:")
        for name, what in _FILES.items():
            if not (found.folder / name).exists():
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
    for one in rows:
        gain = one.gain
        table.add_row(
            one.method,
            "failed" if one.accuracy is None else _percent(one.accuracy),
            _percent(one.deviation),
            _interval(one.interval),
            _percent(one.worst),
            "-" if gain is None else signed_points(gain.difference),
            "-" if gain is None or gain.interval is None else _interval(gain.interval, signed=True),
            "-" if gain is None or gain.p_holm is None else p_value(gain.p_holm),
            "-" if gain is None or gain.effect is None else f"{gain.effect:.1f}",
        )
    return table


def ablation_table(found: Comparison) -> Table:
    """Accuracy of each step of an ablation, and its gain over the step before."""
    table = new_table()
    for name in ("ingredient", "settings"):
        table.add_column(name, no_wrap=True)
    for name in ("mean", "95 % interval", "step", "95 % interval", "p (Holm)", "CPU-s"):
        table.add_column(name, justify="right", no_wrap=True)
    cost = {one.method: one.cpu_s for one in found.summaries}
    for place, one in enumerate(found.ablation):
        step = one.gain
        table.add_row(
            f"+ {one.adds}" if place else one.adds,
            one.settings if place else "",
            "failed" if one.accuracy is None else _percent(one.accuracy),
            _interval(one.interval),
            "-" if step is None else signed_points(step.difference),
            "-" if step is None else _interval(step.interval, signed=True),
            "-" if step is None or step.p_holm is None else p_value(step.p_holm),
            _number(cost[one.name], 1),
        )
    return table


def cost_table(rows: list[Summary]) -> Table:
    """Ranks, balanced accuracy, cost, and use of the unlabeled images."""
    table = new_table()
    table.add_column("method", no_wrap=True)
    validated = any(one.validation_accuracy is not None for one in rows)
    names = ["rank", "balanced", "CPU-s", "seconds", "steps", "used", "correct", *(["validation"] if validated else [])]
    for name in names:
        table.add_column(name, justify="right", no_wrap=True)
    for one in rows:
        cells = [
            "-" if one.mean_rank is None else f"{one.mean_rank:.2f}",
            _percent(one.balanced_accuracy),
            _number(one.cpu_s, 1),
            _number(one.wall_s, 1),
            _number(one.steps, 0),
            _percent(one.mask_ratio),
            _percent(one.pseudo_label_accuracy),
            *([_percent(one.validation_accuracy)] if validated else []),
        ]
        table.add_row(one.method, *cells)
    return table


def _percent(share: float | None) -> str:
    return "-" if share is None else f"{100 * share:.1f}"


def _number(value: float | None, digits: int) -> str:
    return "-" if value is None else f"{value:,.{digits}f}"


def _interval(found: Interval | None, *, signed: bool = False) -> str:
    if found is None:
        return "-"
    return percent_range(found.low, found.high, signed=signed)
