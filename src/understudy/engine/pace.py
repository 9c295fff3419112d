"""From a length of time to a share of training done: a piecewise linear curve, measured as training goes."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import Any

from understudy.core.budget import Budget, Cost

# A reading of the processor's clock takes microseconds, and no mark of a budget needs a finer time than this.
CLOCK_S = 0.02
# Beyond every run: a pace to this step leaves progress where it is until the cost of a step is known.
FAR = 10**12
# Pseudo-labels of a network that has seen next to nothing mislead it for good: with 5 CPU seconds, digits with 40
# labels ended at 44 % after 8 supervised steps of 80, and at 91 % after 40.
MIN_WARMUP_STEPS = 40
# The rest belongs to the unlabeled rows, however short the budget.
MAX_WARMUP = 0.5
# Shares of a phase at which the cost of a step is estimated anew: close together where the first steps mislead, and
# near the end, where what is left can absorb little of an error. Each costs one entry of the ledger.
MARKS = (0.02, 0.05, 0.1, 0.15, 0.25, 0.35, 0.5, 0.6, 0.75, 0.85, 0.95, 1.0)


class Clock:
    """The time a run has spent, resumed parts included."""

    def __init__(self, spent: Cost) -> None:
        """`spent` is what earlier processes did."""
        self._begun = Cost.now() - spent
        self._read_at = 0.0

    def spent(self) -> Cost:
        """All time until now."""
        return Cost.now() - self._begun

    def update_time(self, spent: Cost) -> Cost:
        """The time spent until now, or the last reading where that is a moment old."""
        if time.perf_counter() - self._read_at >= CLOCK_S:
            spent = self.spent()
            self._read_at = time.perf_counter()
        return spent


@dataclass(frozen=True)
class Pace:
    """Progress as a straight line from one step to another."""

    from_step: int = 0
    from_progress: float = 0.0
    to_step: int = FAR
    to_progress: float = 1.0

    def progress(self, step: int) -> float:
        """Share of training done before this step, in [0, 1]."""
        if step >= self.to_step:
            return self.to_progress
        if self.to_step <= self.from_step:
            return self.from_progress
        done = (step - self.from_step) / (self.to_step - self.from_step)
        return max(0.0, self.from_progress + (self.to_progress - self.from_progress) * done)


class Pacer:
    """Proposes a new pace whenever the time spent, or the steps foreseen, reach a mark; the loop records it.

    Each phase has its own marks, because a step of the second costs several of the first. A pace leads to the next
    mark only, so that a first step slowed by warming up cannot use up the schedule.
    """

    def __init__(self, budget: Budget, warmup: float) -> None:
        """`warmup` is the share of training that the first phase takes."""
        self.budget = budget
        self._seen = (0, 0.0)
        self.set_warmup(warmup)

    def set_warmup(self, warmup: float) -> None:
        """Give the first phase this share of training."""
        self.warmup = warmup
        first = [warmup * mark for mark in MARKS] if warmup > 0 else []
        second = [warmup + (1 - warmup) * mark for mark in MARKS] if warmup < 1 else []
        self._marks = first + second

    def start(self) -> Pace:
        """The pace before anything was measured."""
        if not self.budget.is_timed:
            assert self.budget.steps is not None
            return Pace(to_step=self.budget.steps)
        return Pace(to_progress=self.warmup or 1.0)

    def propose(self, pace: Pace, step: int, share: float) -> Pace | None:
        """A new pace, if a mark was passed since the last one; it ends the phase when its time is over.

        Args:
            share: Part of the budget's time spent before this step.
        """
        seen_step, seen_share = self._seen
        # A mark is passed once, because the share seen last is kept. Without a new step nothing new was measured, and a
        # pace that was just set would be set again.
        passed = share >= 1.0 or any(seen_share < mark <= share for mark in self._marks)
        if not (passed or step >= pace.to_step) or step <= seen_step:
            return None
        progress = pace.progress(step)
        end = self.warmup if progress < self.warmup else 1.0
        if self.budget.steps is not None and step >= self.budget.steps:
            share = end
        self._seen = (step, share)
        if share >= end:
            return Pace(step, progress, step, end)
        # The cost of the steps since the last mark, not of all: it varies threefold with the rows that count. The new
        # line starts at the present progress, so progress never falls, and a wrong estimate only bends the line.
        cost = (share - seen_share) / (step - seen_step)
        target = next((mark for mark in self._marks if max(share, progress) < mark < end), end)
        return Pace(step, progress, step + max(1, round((target - share) / max(cost, 1e-12))), target)

    def longer_warmup(self, step: int, share: float) -> float | None:
        """A larger share for the first phase, if its time is over after so few steps that it taught nothing."""
        if step >= MIN_WARMUP_STEPS or self.warmup >= MAX_WARMUP:
            return None
        needed = share * MIN_WARMUP_STEPS / max(1, step)
        return min(MAX_WARMUP, max(needed, 1.1 * self.warmup))

    def enter_second_phase(self, pace: Pace, step: int, share: float) -> Pace:
        """The pace at the first step of the second phase: unknown until some of its steps were measured."""
        self._seen = (step, share)
        return self.second_phase(step, pace.progress(step), None)

    def second_phase(self, step: int, progress: float, end: int | None) -> Pace:
        """The rest of training from a step on, at the place where the second phase begins or later."""
        return Pace(step, max(self.warmup, progress), FAR if end is None else max(end, step + 1), 1.0)

    def state(self) -> dict[str, Any]:
        """What a checkpoint must hold."""
        return {"seen": list(self._seen), "warmup": self.warmup}

    def load_state(self, state: dict[str, Any]) -> None:
        """Continue from where `state` was taken."""
        self._seen = (int(state["seen"][0]), float(state["seen"][1]))
        self.set_warmup(float(state["warmup"]))
