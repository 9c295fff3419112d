"""Watching a comparison: a table that fills while runs end in a terminal, a line per run elsewhere."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import islice
from typing import TYPE_CHECKING, Protocol

from rich.console import Group
from rich.live import Live
from rich.text import Text

from understudy.core.text import clock, counted
from understudy.display.console import say
from understudy.display.tables import new_table

if TYPE_CHECKING:
    from rich.console import Console, RenderableType

    from understudy.comparison.result import Run
    from understudy.comparison.runs import RunPlan

_LINE_S = 10.0  # between progress lines of a log: enough to see that it goes on, few enough to read
_REFRESHES_PER_S = 2  # the table changes only when a run ends or moves by a percent
_BAR_WIDTH = 20  # characters, 5 % each
_MIN_DONE = 0.1  # below this share, start-up dominates and a forecast of the run's time misleads


class ComparisonProgress(Protocol):
    """Shows messages, counts of files, and runs as they end."""

    def message(self, text: str) -> None:
        """Print a sentence that stays."""

    def decoding(self, done: int, total: int) -> None:
        """Show how many images are decoded."""

    def began(self, plan: RunPlan) -> None:
        """Take the plan of what will be trained."""

    def finished(self, run: Run) -> None:
        """Show a run that ended."""


def _nothing() -> None:
    """Do nothing when training begins."""


@contextmanager
def watching(console: Console, began: Callable[[], None] = _nothing) -> Iterator[ComparisonProgress]:
    """Yield a watcher that suits the console: a live table, or plain lines.

    Args:
        began: Called when the folder was recognized and training is about to begin.
    """
    if not console.is_terminal:
        yield ComparisonLines(console, began)
        return
    table = LiveTable(console, began)
    with Live(get_renderable=table.render, console=console, refresh_per_second=_REFRESHES_PER_S, transient=True):
        yield table


class ComparisonLines:
    """A line per run that ended, and a count of files every few seconds."""

    def __init__(self, console: Console, began: Callable[[], None]) -> None:
        self.console = console
        self._began = began
        self._printed_at = time.monotonic()
        self.state: State | None = None

    def message(self, text: str) -> None:
        """Print a sentence that stays."""
        say(self.console, text)

    def decoding(self, done: int, total: int) -> None:
        """Print a line every few seconds."""
        if done == total or time.monotonic() - self._printed_at >= _LINE_S:
            self._printed_at = time.monotonic()
            say(self.console, f"decoded {done:,} of {total:,} images")

    def began(self, plan: RunPlan) -> None:
        """Remember the plan."""
        self.state = State(plan)
        self._began()

    def finished(self, run: Run) -> None:
        """Print a line with the run's figures, or with why it failed."""
        assert self.state is not None
        self.state.add(run)
        say(self.console, run_line(run, self.state))


class LiveTable(ComparisonLines):
    """Methods by numbers of labels, filling as runs end, above the runs at work."""

    def __init__(self, console: Console, began: Callable[[], None]) -> None:
        super().__init__(console, began)
        self._reading = ""

    def decoding(self, done: int, total: int) -> None:
        """Show the count in place of the table."""
        self._reading = "" if done == total else f"reading images: {done:,} of {total:,}"

    def finished(self, run: Run) -> None:
        """Put its figures into the table."""
        assert self.state is not None
        self.state.add(run)

    def render(self) -> RenderableType:
        """The table as it stands now."""
        if self.state is None:
            return Text(self._reading, style="dim")
        return Group(Text(), live_table(self.state), Text(), *self.state.at_work())


class State:
    """Which runs ended and which are at work."""

    def __init__(self, plan: RunPlan) -> None:
        self.plan = plan
        self.ended = {run.folder: run for run in plan.finished}
        self.begun = time.monotonic()
        self._wall: list[float] = []

    def add(self, run: Run) -> None:
        """Record a run that ended."""
        self.ended[run.folder] = run
        if run.figures:
            self._wall.append(run.figures.wall_s)

    @property
    def total(self) -> int:
        """How many runs there are in all."""
        return len(self.plan.finished) + len(self.plan.left)

    def seconds_left(self) -> float | None:
        """Wall seconds until the end, from the budget or from the runs that ended; None when nothing is known."""
        running = self.running()
        walls = self._wall or [wall_s / done for _, done, wall_s in running if done > _MIN_DONE]
        each = statistics.fmean(walls) if walls else self.plan.budget.wall_s or self.plan.budget.cpu_s
        if each is None:
            return None
        left = self.total - len(self.ended)
        done = sum(done for _, done, _ in running)
        return each * max(0.0, left - done) / min(self.plan.jobs, max(1, left))

    def running(self) -> list[tuple[str, float, float]]:
        """The runs at work by description, each with the share done and the wall seconds so far."""
        from understudy.comparison.conclusions import labels_text
        from understudy.comparison.single_run import read_progress

        left = (task for task in self.plan.left if task.folder not in self.ended)
        running = []
        for task in islice(left, self.plan.jobs):  # tasks are handed out in order
            progress = read_progress(task.root / task.folder)
            labels = "" if task.reveal else f", {labels_text(task.num_labels)}"
            name = f"{task.method}{labels}, seed {task.job.seed}"
            running.append((name, float(progress.get("done", 0.0)), float(progress.get("wall_s", 0.0))))
        return running

    def at_work(self) -> list[Text]:
        """ComparisonLines about the runs at work and the time left."""
        lines = [Text(f"{_bar(done)} {100 * done:3.0f} %  {name}", style="dim") for name, done, _ in self.running()]
        seconds = self.seconds_left()
        left = "" if seconds is None else f", about {clock(seconds)} left"
        return [*lines, Text(f"{len(self.ended)} of {self.total} runs{left}")]


def _bar(done: float) -> str:
    filled = round(_BAR_WIDTH * done)
    return "━" * filled + " " * (_BAR_WIDTH - filled)


def live_table(state: State) -> RenderableType:
    """Mean accuracy and its deviation over the seeds that ended, methods by numbers of labels."""
    from understudy.comparison.conclusions import labels_text

    plan = state.plan
    table = new_table()
    table.add_column("accuracy in %")
    for count in plan.num_labels:
        table.add_column(labels_text(count), justify="right")
    for method in plan.methods:
        cells = []
        for count in plan.num_labels:
            own = [run for run in state.ended.values() if (run.method, run.num_labels) == (method, count)]
            cells.append(_cell(own, len(plan.seeds)))
        table.add_row(method, *cells)
    return table


def _cell(runs: list[Run], num_seeds: int) -> str:
    values = [100 * run.figures.accuracy for run in runs if run.figures]
    if not values:
        return "failed" if runs else "."
    spread = f" ± {statistics.stdev(values):.1f}" if len(values) > 1 else ""
    return f"{statistics.fmean(values):.1f}{spread} ({len(values)}/{num_seeds})"


def run_line(run: Run, state: State) -> str:
    """One ended run among all of them."""
    labels = f"  {run.num_labels:>6,} labels" if run.num_labels else ""
    width = max(map(len, (*state.plan.methods, "")))
    head = f"{len(state.ended):>4}/{state.total}  {run.method:<{max(16, width)}}{labels}  seed {run.seed:<3}"
    if run.figures is None:
        return f"{head}  failed: {run.error}"
    figures = run.figures
    seconds = state.seconds_left()
    left = f"  {clock(seconds)} left" if seconds else ""
    return (
        f"{head}  {100 * figures.accuracy:5.1f} %  {figures.cpu_s:,.1f} CPU-s  {counted(figures.steps, 'step')}{left}"
    )
