"""The outcome of a training in the terminal: the verdict, then the two models side by side."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Protocol

from understudy.core.text import capitalized, percent, percent_range, signed_points
from understudy.display.console import say
from understudy.display.tables import new_table
from understudy.evaluation.verdict import Verdict

if TYPE_CHECKING:
    from pathlib import Path

    from rich.console import Console
    from rich.table import Table

    from understudy.engine.finalize import Trained
    from understudy.evaluation.metrics import Metrics
    from understudy.evaluation.no_verdict import NoVerdict
    from understudy.evaluation.repeats import Repeats

_OUTCOME_STYLE = {"helped": "green", "hurt": "red"}


class FinishedRun(Protocol):
    """What is shown of a result."""

    @property
    def verdict(self) -> Verdict | NoVerdict:
        """Whether the unlabeled images helped, or why nothing was compared."""

    @property
    def repeats(self) -> Repeats | None:
        """All seeds or folds together."""

    @property
    def runs(self) -> Mapping[str, Trained]:
        """Each trained run by name."""

    @property
    def run_metrics(self) -> Mapping[str, Metrics]:
        """Their metrics on held-out images."""

    @property
    def folder(self) -> Path | None:
        """Where everything was saved, if anywhere."""


def print_outcome(console: Console, result: FinishedRun) -> None:
    """Print the verdict, and below it a table of both models or of all repeats."""
    _print_verdict(console, result)
    if result.repeats is not None:
        console.print(_repeats(result.repeats))
        say(console)
    elif result.run_metrics:
        console.print(_comparison(result))
        say(console)


def print_end(console: Console, result: FinishedRun) -> None:
    """Print the end of a call from Python: the outcome, and where the report is."""
    say(console)
    print_outcome(console, result)
    if result.folder is None:
        say(console, "Nothing was saved; pass folder=..., or call result.report() and result.predictor.save(...).")
    else:
        say(console, f"Report: {result.folder / 'report.html'}")


def _print_verdict(console: Console, result: FinishedRun) -> None:
    from rich.panel import Panel
    from rich.text import Text

    if result.repeats is not None:
        sentences: tuple[str, ...] = result.repeats.sentences
        outcome = result.repeats.outcome or ""
    else:
        sentences, outcome = result.verdict.sentences(), result.verdict.outcome
    delivered = _delivered(result)
    metrics = result.run_metrics.get(delivered)
    if metrics is not None and (note := metrics.guessing_note(result.runs[delivered].steps)):
        sentences = (note, *sentences)
    style = _OUTCOME_STYLE.get(outcome, "yellow")
    if not console.is_terminal:
        for line in ("VERDICT", *sentences, ""):
            say(console, line)
        return
    text = Text(sentences[0], style="bold")
    for sentence in sentences[1:]:
        text.append(f"\n{sentence}", style="not bold")
    console.print(Panel(text, title="Verdict", title_align="left", border_style=style, padding=(1, 2)))


def print_rounds(console: Console, name: str, trained: Trained) -> None:
    """Print what each round or part of a recipe labeled and reached, which one is returned, and why it was the last."""
    columns = {
        "labeled": "coverage",
        "labels correct": "pseudo_label_accuracy",
        "changed": "labels_changed",
        "validation": "validation_accuracy",
        "corrupted": "corrupted_accuracy",
    }
    lines = [line for line in trained.rounds if "returned" in line]
    shown = {title: key for title, key in columns.items() if any(line.get(key) is not None for line in lines)}
    table = new_table()
    table.add_column(f"{'round' if 'teacher' in (line['name'] for line in lines) else 'part'} of {name}")
    for title in ("steps", *shown):
        table.add_column(title, justify="right")
    for line in lines:
        label = f"{line['name']} (returned)" if line["returned"] else line["name"]
        table.add_row(label, f"{line['steps']:,}", *(percent(line.get(key)) for key in shown.values()))
    console.print(table)
    say(console)
    for line in lines:
        if line.get("note"):
            say(console, f"{line['name'].capitalize()}: {line['note']}.")
    if trained.stopped and trained.stopped not in (line.get("note") for line in lines):
        say(console, f"{capitalized(trained.stopped)}.")
    say(console)


def print_probes(console: Console, trained: Trained) -> None:
    """Print the accuracy of probes on the features during pretraining, and which features were kept."""
    table = new_table()
    for title in ("pretraining", "step", "kNN", "linear"):
        table.add_column(title, justify="right")
    for line in trained.rounds:
        if "kept" not in line:  # a round of the recipe downstream
            continue
        label = f"{100 * line['progress']:.0f} %" + (" (kept)" if line["kept"] else "")
        probes = (percent(line.get(name)) for name in ("knn_accuracy", "linear_accuracy"))
        table.add_row(label, f"{line['step']:,}", *probes)
    console.print(table)
    say(console)


def _repeats(repeats: Repeats) -> Table:
    """A row per seed or fold, then their mean and its interval."""
    names = list(repeats.accuracies)
    table = new_table()
    for name in (repeats.kind.removesuffix("s"), "images", *names, *(["difference"] if repeats.method else [])):
        table.add_column(name, justify="right")
    for at, number in enumerate(repeats.numbers):
        cells = [percent(repeats.accuracies[name][at]) for name in names]
        if repeats.method:
            cells.append(signed_points(repeats.differences[at]))
        table.add_row(str(number), f"{repeats.n[at]:,}", *cells)
    table.add_section()
    whole = "mean" if repeats.kind == "seeds" else "all"
    means = [percent(repeats.spreads[name].mean) for name in names]
    gain = repeats.gain
    if gain is not None:
        means.append(signed_points(gain.difference))
    table.add_row(whole, "" if repeats.kind == "seeds" else f"{sum(repeats.n):,}", *means)
    intervals = [repeats.spreads[name].interval for name in names]
    if any(intervals):
        cells = ["-" if interval is None else percent_range(interval.low, interval.high) for interval in intervals]
        if gain is not None:
            between = gain.interval
            cells.append("-" if between is None else percent_range(between.low, between.high, signed=True))
        table.add_row("95 % interval", "", *cells)
    return table


def _delivered(result: FinishedRun) -> str:
    """The name of the run whose model is delivered."""
    verdict, repeats = result.verdict, result.repeats
    if repeats is not None:
        return repeats.method if repeats.delivered == "method" and repeats.method else "supervised"
    return verdict.method.name if isinstance(verdict, Verdict) and verdict.delivered == "method" else "supervised"


def _comparison(result: FinishedRun) -> Table:
    on_device = isinstance(result.verdict, Verdict) and result.verdict.cost_clock == "wall_s"
    delivered = _delivered(result)
    table = new_table()
    table.add_column("model")
    for name in ("accuracy", "95 % interval", "balanced", "device s" if on_device else "CPU-s", "steps"):
        table.add_column(name, justify="right")
    for name, trained in result.runs.items():
        metrics = result.run_metrics[name]
        table.add_row(
            f"{name} (delivered)" if name == delivered else name,
            percent(metrics.accuracy),
            percent_range(metrics.accuracy_interval.low, metrics.accuracy_interval.high),
            percent(metrics.balanced_accuracy),
            f"{trained.cost.wall_s if on_device else trained.cost.cpu_s:,.1f}",
            f"{trained.steps:,}",
        )
    return table
