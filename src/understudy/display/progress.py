"""Watching a run: moving bars in a terminal, plain lines elsewhere, and one lasting line per evaluation."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from html import escape
from typing import TYPE_CHECKING, Any, Protocol

from rich.progress import BarColumn, Progress, TaskID, TaskProgressColumn, TextColumn
from rich.text import Text

from understudy.core.text import clock, counted
from understudy.display.console import say
from understudy.methods.metric_names import metric_words

if TYPE_CHECKING:
    from rich.console import Console, RenderableType

    from understudy.engine.observers import Round, StepReport

_REFRESH_S = 0.25  # the eye sees no more, and reading a loss holds up a device
_LINE_S = 10.0  # between progress lines of a log: enough to see that it goes on, few enough to read
_STEP_LINE_S = 30.0  # evaluations have lines of their own; this one shows that a long stretch between them goes on
_HIDDEN = ("step", "progress", "cpu_s", "wall_s")
_ACCURACIES = {"validation_accuracy": "validation", "knn_accuracy": "kNN", "linear_accuracy": "linear"}


class Watch(Protocol):
    """Shows messages, counts of files and training steps."""

    def message(self, text: str) -> None:
        """Print a sentence that stays."""

    def decoding(self, done: int, total: int) -> None:
        """Show how many images are decoded."""

    def predicting(self, done: int, total: int) -> None:
        """Show how many images are predicted."""

    def working(self, what: str, done: int, total: int) -> None:
        """Show how far other work is."""

    def step(self, report: StepReport) -> None:
        """Show a finished training step."""


@contextmanager
def watching(console: Console) -> Iterator[Watch]:
    """Yield a watcher that suits the console: bars, a line in a notebook, or plain lines."""
    if in_notebook():
        yield NotebookLine(console)
        return
    if not console.is_terminal:
        yield Lines(console)
        return
    bars = Bars(console)
    with bars.display:
        yield bars


class Lines:
    """Plain lines: sentences, a line per evaluation, and a count of files every few seconds."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._printed_at = time.monotonic()

    def message(self, text: str) -> None:
        """Print a sentence that stays."""
        say(self._console, text)

    def decoding(self, done: int, total: int) -> None:
        """Print a line every few seconds."""
        self._count("decoded", done, total)

    def predicting(self, done: int, total: int) -> None:
        """Print a line every few seconds."""
        self._count("predicted", done, total)

    def working(self, what: str, done: int, total: int) -> None:
        """Print a line every few seconds, and none at the end, where the result is printed."""
        if done < total and time.monotonic() - self._printed_at >= _LINE_S:
            self._printed_at = time.monotonic()
            say(self._console, f"{what}: {100 * done / total:.0f} %")

    def step(self, report: StepReport) -> None:
        """Print a line per evaluation and round, and one in between where these are far apart."""
        if report.round is not None:
            text = round_line(report.round)
        elif report.evaluation is not None:
            text = evaluation_line(report)
        elif time.monotonic() - self._printed_at >= _STEP_LINE_S:
            text = progress_line(report)
        else:
            return
        self._printed_at = time.monotonic()
        say(self._console, text)

    def _count(self, what: str, done: int, total: int) -> None:
        if done == total or time.monotonic() - self._printed_at >= _LINE_S:
            self._printed_at = time.monotonic()
            say(self._console, f"{what} {done:,} of {total:,} images")


class NotebookLine(Lines):
    """Sentences that stay, and one line in the cell's output that is updated in place."""

    def __init__(self, console: Console) -> None:
        super().__init__(console)
        self._handle: Any = None

    def working(self, what: str, done: int, total: int) -> None:
        """Update the line."""
        self._update(f"{what}: {100 * done / max(1, total):.0f} %", last=done >= total)

    def step(self, report: StepReport) -> None:
        """Update the line; a round ends with one that stays."""
        if report.round is not None:
            say(self._console, round_line(report.round))
            return
        detail = "" if report.evaluation is None else f"  {evaluation_line(report)}"
        self._update(progress_line(report) + detail, last=bool(detail) or report.progress >= 1)

    def _count(self, what: str, done: int, total: int) -> None:
        self._update(f"{what} {done:,} of {total:,} images", last=done >= total)

    def _update(self, text: str, *, last: bool) -> None:
        """Show the text in place of the one before, at most a few times a second unless it is the last of its kind."""
        if not last and time.monotonic() - self._printed_at < _REFRESH_S:
            return
        self._printed_at = time.monotonic()
        from IPython.display import display

        shown = {"text/plain": text, "text/html": f"<pre>{escape(text)}</pre>"}
        if self._handle is None:
            self._handle = display(shown, raw=True, display_id=True)
        else:
            self._handle.update(shown, raw=True)


class Bars:
    """One bar for reading, one for predicting and one per training run, above lines that stay."""

    def __init__(self, console: Console) -> None:
        self.display = _Display(console)
        self._console = console
        self._tasks: dict[str, TaskID] = {}
        self._shown_at = 0.0
        self._mark = (0, 0.0)

    def message(self, text: str) -> None:
        """Print a sentence that stays."""
        say(self._console, text)

    def decoding(self, done: int, total: int) -> None:
        """Move the bar of reading."""
        self._count("reading images", done, total)

    def predicting(self, done: int, total: int) -> None:
        """Move the bar of predicting."""
        self._count("predicting", done, total)

    def working(self, what: str, done: int, total: int) -> None:
        """Move a bar of that name."""
        self._count(what, done, total)

    def step(self, report: StepReport) -> None:
        """Move the bar of the run at most a few times a second, since looking at a loss holds up a device."""
        if report.run not in self._tasks:
            self._mark = (report.step.index, report.spent.wall_s)
        if report.round is not None:
            say(self._console, round_line(report.round))
        elif report.evaluation is not None:
            say(self._console, evaluation_line(report))
        elif time.monotonic() - self._shown_at < _REFRESH_S:
            return
        self._shown_at = time.monotonic()
        self.display.detail = "" if report.progress >= 1 else self._detail(report)
        done = 1.0 if report.progress >= 1 else share_done(report)
        self._move(report.run, done, f"{clock(seconds_left(report, done))} left")
        if report.evaluation is not None:
            self._mark = (report.step.index, report.spent.wall_s)

    def _detail(self, report: StepReport) -> str:
        steps, seconds = report.step.index - self._mark[0], report.spent.wall_s - self._mark[1]
        rate = [f"{steps / seconds:.3g} steps/s"] if steps and seconds > 0 else []
        phase = "labels only" if report.phase == 1 else "with unlabeled"
        loss, metrics = 0.0, dict[str, float]()
        for player in report.losses:
            loss += float(player.total.detach())
            metrics |= {name: float(value.detach()) for name, value in player.metrics.items()}
        values = [f"loss {loss:.3f}", *(metric_words(name, value) for name, value in metrics.items())]
        what = [] if report.run == "supervised" else [phase]
        return "   " + ", ".join([f"step {report.step.index + 1:,}", *rate, *what, *values])

    def _count(self, what: str, done: int, total: int) -> None:
        if done == total or time.monotonic() - self._shown_at >= _REFRESH_S:
            self._shown_at = time.monotonic()
            self._move(what, done / max(1, total), f"{done:,} of {total:,}")

    def _move(self, name: str, done: float, note: str) -> None:
        if name not in self._tasks:
            self._tasks[name] = self.display.add_task(name, total=1.0, note="")
        self.display.update(self._tasks[name], completed=done, note="" if done >= 1 else note)


class _Display(Progress):
    """Bars, and below them a line about the current step."""

    def __init__(self, console: Console) -> None:
        self.detail = ""
        name, note = TextColumn("{task.description}"), TextColumn("{task.fields[note]}")
        columns = (name, BarColumn(), TaskProgressColumn(), note)
        super().__init__(*columns, console=console, refresh_per_second=1 / _REFRESH_S)

    def get_renderables(self) -> Iterable[RenderableType]:
        """The bars, then the detail."""
        yield from super().get_renderables()
        if self.detail:
            yield Text(self.detail, style="dim", overflow="ellipsis", no_wrap=True)


def in_notebook() -> bool:
    """Whether this runs in a notebook's kernel, where a displayed line can be updated."""
    if "IPython" not in sys.modules:
        return False
    shell = sys.modules["IPython"].get_ipython()
    return getattr(shell, "kernel", None) is not None


def progress_line(report: StepReport) -> str:
    """How far a run is, and how long the rest takes at this rate."""
    done = share_done(report)
    left = f"{clock(seconds_left(report, done))} left"
    return f"{report.run:<12}{100 * done:4.0f} %  step {report.step.index + 1:<6,}  {left}"


def evaluation_line(report: StepReport) -> str:
    """The line of an evaluation: where the run stands, its mean loss and metrics, and the accuracy if one was taken."""
    assert report.evaluation is not None
    line: dict[str, Any] = dict(report.evaluation)
    terms = [name for loss in report.losses for name in loss.terms if name in line]
    parts = [f"{report.run:<12}{100 * line['progress']:4.0f} %", f"step {line['step']:<6,}"]
    parts += [f"loss {sum(line[name] for name in terms):<6.3f}"]
    parts += [metric_words(name, value) for name, value in line.items() if name not in (*_HIDDEN, *_ACCURACIES, *terms)]
    for name, title in _ACCURACIES.items():
        if name in line:
            parts.append(f"{title} {100 * line[name]:.1f} %")
    return "  ".join(parts).rstrip()


def round_line(ended: Round) -> str:
    """The line of a round: pseudo-labels, how many of them changed, and the accuracy reached."""
    record, parts = ended.record, list[str]()
    if record.get("num_pseudo_labels") is not None:
        count = record["num_pseudo_labels"]
        parts.append(f"{counted(count, 'image')} labeled ({100 * record['coverage']:.1f} % of the pool)")
    if record.get("labels_changed") is not None:
        parts.append(f"{100 * record['labels_changed']:.1f} % of labels changed")
    if record.get("validation_accuracy") is not None:
        parts.append(f"validation {100 * record['validation_accuracy']:.1f} %")
    if record.get("note"):
        parts.append(record["note"])
    return f"{record['name'].upper()} done" + (f": {'; '.join(parts)}" if parts else "")


def share_done(report: StepReport) -> float:
    """The part of the run's budget that is used, 1 at its end."""
    return min(1.0, report.spent.share_of(report.budget) if report.budget.is_timed else report.progress)


def seconds_left(report: StepReport, done: float) -> float:
    """Wall seconds until the run ends, at its rate so far."""
    return report.spent.wall_s * (1 - done) / done if done > 0 else float("inf")
