"""Displays of the progress of a comparison."""

from __future__ import annotations

from typing import Protocol

from understudy.comparison.result import Run
from understudy.comparison.runs import RunPlan
from understudy.experiment.log import Silent


class ComparisonWatcher(Protocol):
    """A display of the progress of a comparison."""

    def message(self, text: str) -> None:
        """Show a sentence."""

    def decoding(self, done: int, total: int) -> None:
        """Show how many images were decoded so far."""

    def began(self, plan: RunPlan) -> None:
        """Show what will be trained; `read_progress` tells how far a run in its folder is."""

    def finished(self, run: Run) -> None:
        """Show a run that ended."""


class SilentComparison(Silent):
    """A watcher that shows nothing."""

    def began(self, plan: RunPlan) -> None:
        """Ignore it."""

    def finished(self, run: Run) -> None:
        """Ignore it."""
