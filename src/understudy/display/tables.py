"""Tables that read well in a terminal and in a file."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rich import box
from rich.table import Table

from understudy.core.text import percent, percent_range

if TYPE_CHECKING:
    from understudy.evaluation.metrics import Metrics

MAX_CLASSES_IN_MATRIX = 20  # a wider confusion matrix does not fit a terminal of 120 columns


def new_table() -> Table:
    """An empty table with a rule under its head and no other lines."""
    return Table(box=box.SIMPLE_HEAD, pad_edge=False, show_edge=False)


def summary_lines(metrics: Metrics) -> list[str]:
    """The metrics over all classes, as lines of text."""
    accuracy, balanced = (
        percent_range(interval.low, interval.high)
        for interval in (metrics.accuracy_interval, metrics.balanced_accuracy_interval)
    )
    lines = [
        f"accuracy           {percent(metrics.accuracy):>7}  (95 % interval {accuracy})",
        f"balanced accuracy  {percent(metrics.balanced_accuracy):>7}  (95 % interval {balanced})",
        f"macro F1           {percent(metrics.macro_f1):>7}",
    ]
    if metrics.auroc is not None:
        lines.append(f"AUROC              {metrics.auroc:>7.3f}")
    return lines + [f"top-{k} accuracy     {percent(share):>7}" for k, share in metrics.top_k.items()]


def class_table(metrics: Metrics) -> Table:
    """Precision, recall, F1 and number of images of each class."""
    table = new_table()
    table.add_column("class", overflow="fold")
    for name in ("precision", "recall", "F1", "images"):
        table.add_column(name, justify="right")
    for scores in metrics.per_class:
        cells = (percent(score) for score in (scores.precision, scores.recall, scores.f1))
        table.add_row(scores.name, *cells, f"{scores.support:,}")
    return table


def confusion_table(metrics: Metrics) -> Table:
    """How many images of each true class (row) were given each class (column, by the number of its row)."""
    table = new_table()
    table.add_column("", justify="right", style="dim")
    table.add_column("true class", overflow="ellipsis", max_width=16, no_wrap=True)
    for number in range(len(metrics.per_class)):
        table.add_column(str(number), justify="right", no_wrap=True)
    for number, (scores, row) in enumerate(zip(metrics.per_class, metrics.confusion, strict=True)):
        cells = [f"{count:,}" if count else "." for count in row]
        table.add_row(str(number), scores.name, *cells)
    return table
