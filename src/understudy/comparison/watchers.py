"""Whoever shows a person how a comparison goes."""

from __future__ import annotations

from typing import Protocol

from understudy.comparison.result import Run
from understudy.comparison.runs import RunPlan


class ComparisonWatcher(Protocol):
    """Whoever shows a person how a comparison goes."""

    def message(self, text: str) -> None:
        """Something worth knowing, in a sentence."""

    def decoding(self, done: int, total: int) -> None:
        """Images decoded so far."""

    def began(self, plan: RunPlan) -> None:
        """What will be trained; the folders of its runs tell how far they are."""

    def finished(self, run: Run) -> None:
        """A run that ended."""


class SilentComparison:
    """A watcher that shows nothing."""

    def message(self, text: str) -> None:
        """Nothing."""

    def decoding(self, done: int, total: int) -> None:
        """Nothing."""

    def began(self, plan: RunPlan) -> None:
        """Nothing."""

    def finished(self, run: Run) -> None:
        """Nothing."""
