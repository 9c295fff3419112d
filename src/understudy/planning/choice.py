"""A choice with its reason, the parts of a plan that hold choices, and the allowance that all of them share."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Generic, Literal, TypeVar

from understudy.core.budget import Budget, Cost

T = TypeVar("T")
How = Literal["asked", "measured", "tried", "rule"]
"""Asked for by the user; decided by a measurement of data or machine; by short trainings; by a rule alone."""

SHARE = 0.2
MIN_S = 4.0  # less is used up by what the first training of a process takes beside its steps


@dataclass(frozen=True)
class Choice(Generic[T]):
    """One setting of a training job.

    Args:
        key: As `--set` takes it, such as `method.name`.
        how: What decided it.
        reason: A sentence, without the full stop.
    """

    key: str
    value: T
    how: How
    reason: str


@dataclass(frozen=True)
class Learned:
    """Base of what each `learn_*` function gives: fields that are choices, what was measured, and what it cost."""

    figures: Mapping[str, Any] = field(default_factory=dict, kw_only=True)
    cost: Cost = field(default_factory=Cost, kw_only=True)

    @property
    def choices(self) -> tuple[Choice[Any], ...]:
        """All choices made, in the order of the fields; a field that is None was left alone."""
        values = [getattr(self, field.name) for field in dataclasses.fields(self)]
        return tuple(value for value in values if isinstance(value, Choice))


class Allowance:
    """What planning may still spend, on the clock that the budget of the command is given in."""

    def __init__(self, budget: Budget, share: float = SHARE) -> None:
        """That share of the whole budget, from now on; nothing where steps, not a clock, end the training."""
        self.clock: Literal["wall_s", "cpu_s"] = "cpu_s" if budget.wall_s is None else "wall_s"
        whole = budget.wall_s if budget.wall_s is not None else budget.cpu_s
        self.whole_s = (whole or 0.0) * share
        self.budget = budget
        self._begun = Cost.now()
        self._earlier = Cost()

    @classmethod
    def nothing(cls) -> Allowance:
        """For choices that follow rules alone."""
        return cls(Budget(steps=1))

    @property
    def refusal(self) -> str:
        """Why nothing can be measured or tried, or an empty text."""
        if not self.budget.is_timed:
            return "a budget of steps promises equal runs, so no clock may decide"
        if self.whole_s < MIN_S:
            return f"a budget of {self.budget} is too short to plan in"
        return ""

    @property
    def spent(self) -> Cost:
        """What was spent so far."""
        return self._earlier + (Cost.now() - self._begun)

    @property
    def left_s(self) -> float:
        """Seconds that may still be spent."""
        spent: float = getattr(self.spent, self.clock)
        return 0.0 if self.refusal else max(0.0, self.whole_s - spent)

    @property
    def is_used_up(self) -> bool:
        """Whether a budget of time gave an allowance, and all of it is spent."""
        spent: float = getattr(self.spent, self.clock)
        return 0 < self.whole_s <= spent

    def pay(self, earlier: Cost) -> None:
        """Count what was spent before this allowance began."""
        self._earlier += earlier

    def read(self) -> float:
        """The clock's present reading, in seconds; only differences mean something."""
        reading: float = getattr(Cost.now(), self.clock)
        return reading

    def part(self, seconds: float) -> Budget:
        """A budget of so many seconds on this clock."""
        return Budget(wall_s=seconds) if self.clock == "wall_s" else Budget(cpu_s=seconds)


def lookup(table: Mapping[str, Any], key: str) -> Any:
    """The value at a dotted key of nested tables, None if there is none."""
    found: Any = table
    for name in key.split("."):
        if not isinstance(found, Mapping) or name not in found:
            return None
        found = found[name]
    return found


def nested(choices: Iterable[Choice[Any]]) -> dict[str, Any]:
    """Choices as options of a training job, nested as in its TOML file."""
    table: dict[str, Any] = {}
    for choice in choices:
        *outer, last = choice.key.split(".")
        inner = table
        for name in outer:
            inner = inner.setdefault(name, {})
        inner[last] = list(choice.value) if isinstance(choice.value, tuple) else choice.value
    return table


def asked(table: Mapping[str, Any], key: str) -> Choice[Any] | None:
    """The choice that the user made of a setting, None where it was left open."""
    value = lookup(table, key)
    if value is None or value == "auto" or (key == "size" and value == 0):
        return None
    return Choice(key, value, "asked", "you asked for it")
