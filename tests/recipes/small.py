"""A comparison of a second or two, on images made on the spot; run as a module it is the process that tests kill."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from understudy.comparison.compare import compare
from understudy.comparison.result import ComparisonResult, Run
from understudy.comparison.runs import RunPlan

OPTIONS: dict[str, Any] = {
    "methods": ["fixmatch", "pseudo_label"],
    "num_labels": 6,
    "seeds": 2,
    "budget": "12steps",
    "network": "cnn",
    "batch_size": 6,
    "warmup": 0.25,
    "method": {"mu": 2, "threshold": 0.35, "ema_decay": 0.5},
}
"""Two methods with supervised x two seeds: six runs."""


def images(count: int = 90, first: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Gray images of three noisy patterns, and their classes."""
    labels = np.arange(first, first + count) % 3
    patterns = np.random.default_rng(0).integers(0, 256, (3, 12, 12))
    noise = np.random.default_rng(first + 1).normal(0, 90, (count, 12, 12))
    return (patterns[labels] + noise).clip(0, 255).astype(np.uint8), labels


def small(folder: Path | None = None, **options: Any) -> ComparisonResult:
    """The comparison with some options changed."""
    return compare(images(), **{"test": images(60, 1000), "jobs": 1, **OPTIONS, **options}, folder=folder)


class Watch:
    """Keeps the plan and the runs that ended, and calls a function at each."""

    def __init__(self, at_each: Callable[[Run], None] | None = None) -> None:
        self.plan: RunPlan | None = None
        self.runs: list[Run] = []
        self.messages: list[str] = []
        self._at_each = at_each

    def message(self, text: str) -> None:
        self.messages.append(text)

    def decoding(self, done: int, total: int) -> None:
        pass

    def began(self, plan: RunPlan) -> None:
        self.plan = plan

    def finished(self, run: Run) -> None:
        self.runs.append(run)
        if self._at_each is not None:
            self._at_each(run)

    @property
    def trained(self) -> list[tuple[str, int, int]]:
        """Method, number of labels and seed of the runs that were not there before."""
        return [(run.method, run.num_labels, run.seed) for run in self.runs]


def _slowly(run: Run) -> None:
    time.sleep(0.2)


if __name__ == "__main__":
    small(Path(sys.argv[1]), jobs=int(sys.argv[2]), watch=Watch(_slowly))
