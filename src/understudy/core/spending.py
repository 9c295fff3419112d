"""The time of a command by part, on the wall clock and of the processor; the parts add up to the whole."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager

from understudy.core.budget import Budget, Cost, format_seconds

START, READING, PLANNING, TRAINING = "start", "reading", "planning", "training"
EVALUATION, REPORT = "evaluation", "report"
# An overrun of a tenth is stated as one. Predictions of what evaluation and report take are about that good on a
# machine whose load changes.
TOLERANCE = 0.1
_ORDER = (START, READING, PLANNING, TRAINING, EVALUATION, REPORT)


def process_begun() -> Cost:
    """When this process began, as far as its processor time tells; waiting before this call is not known."""
    now = Cost.now()
    return Cost(now.wall_s - now.cpu_s, 0.0)


class Spending:
    """The time of one command by part; a command that contains others shares it with them."""

    def __init__(self, begun: Cost | None = None) -> None:
        """The first part is the start of the program.

        Args:
            begun: When the command began, if that was before now.
        """
        self.begun = Cost.now() if begun is None else begun
        self._part, self._since = START, self.begun
        self._parts: dict[str, Cost] = {}

    def enter(self, name: str) -> str:
        """Count what follows as this part, and give the name of the part before."""
        assert name in _ORDER
        now, before = Cost.now(), self._part
        self._parts[before] = self._parts.get(before, Cost()) + (now - self._since)
        self._part, self._since = name, now
        return before

    @contextmanager
    def part(self, name: str) -> Iterator[None]:
        """Count the time of the block as this part."""
        before = self.enter(name)
        try:
            yield
        finally:
            self.enter(before)

    @property
    def parts(self) -> dict[str, Cost]:
        """The time of each part so far, in the order of a command, whatever was timed ahead of its turn."""
        self.enter(self._part)
        return {name: self._parts[name] for name in _ORDER if name in self._parts}

    def wall_s(self, *names: str) -> float:
        """Seconds on the wall clock that these parts took so far."""
        parts = self.parts
        return sum(parts[name].wall_s for name in names if name in parts)

    def to_json(self) -> dict[str, dict[str, float]]:
        """Seconds by part, on both clocks."""
        return {
            name: {"wall_s": round(cost.wall_s, 2), "cpu_s": round(cost.cpu_s, 2)} for name, cost in self.parts.items()
        }


def spent_line(parts: Mapping[str, Cost], budget: Budget, *, resumed: bool = False) -> str:
    """One sentence on the time of the command, in total and by part, and its distance from the budget.

    Args:
        resumed: Whether an earlier process of the same run spent time that is not in the parts.
    """
    whole = sum(parts.values(), Cost())
    listed = ", ".join(f"{name} {format_seconds(cost.wall_s)}" for name, cost in parts.items() if cost.wall_s >= 0.05)
    took = f"{format_seconds(whole.wall_s)} ({listed})"
    if resumed:
        return f"Since it was resumed, the command took {took}."
    if budget.wall_s is not None:
        return f"The command took {took}{_beyond(whole.wall_s, budget.wall_s)} of {budget}."
    if budget.cpu_s is not None:
        counted = sum((parts[name].cpu_s for name in (PLANNING, TRAINING) if name in parts), 0.0)
        beyond = _beyond(counted, budget.cpu_s)
        return f"Planning and training took {counted:.1f} CPU-s{beyond} of {budget}. The whole command took {took}."
    return f"The command took {took}."


def _beyond(spent: float, budget: float) -> str:
    """How an amount relates to the budget that is named next; an overrun beyond the tolerance is stated."""
    over = spent / budget - 1
    if over > TOLERANCE:
        return f", {100 * over:.0f} % more than the budget"
    return ", less than the budget" if over < -TOLERANCE else ", close to the budget"
