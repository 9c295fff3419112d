"""A choice with its reason, the parts of a plan that hold choices, and the time that they share."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Generic, Literal, TypeVar

from understudy.core.budget import Budget, Cost

T = TypeVar("T")
How = Literal["asked", "measured", "tried", "rule"]
"""Asked for by the user; decided by a measurement of data or machine; by short training runs; by a rule alone."""

SHARE = 0.2  # of the budget; a judgment: what planning takes, training loses
MIN_S = 4.0  # less is mostly used up by the overhead of the first training of a process


@dataclass(frozen=True)
class Choice(Generic[T]):
    """One setting of a training job.

    Args:
        key: Dotted key as `--set` takes it, such as `method.name`.
        how: What decided it.
        reason: A sentence without the full stop.
    """

    key: str
    value: T
    how: How
    reason: str


@dataclass(frozen=True)
class Learned:
    """Base of the results of the `learn_*` functions: fields that are choices, the measurements, and their cost."""

    figures: Mapping[str, Any] = field(default_factory=dict, kw_only=True)
    cost: Cost = field(default_factory=Cost, kw_only=True)

    @property
    def choices(self) -> tuple[Choice[Any], ...]:
        """All choices made, in the order of the fields; None marks a setting that keeps its default."""
        values = [getattr(self, field.name) for field in dataclasses.fields(self)]
        return tuple(value for value in values if isinstance(value, Choice))


class PlanningBudget:
    """The time that planning may spend, on the clock of the command's budget."""

    def __init__(self, budget: Budget, share: float = SHARE) -> None:
        """Start the clock on this share of the budget, which is nothing if the budget is a number of steps."""
        self.clock: Literal["wall_s", "cpu_s"] = "cpu_s" if budget.wall_s is None else "wall_s"
        whole = budget.wall_s if budget.wall_s is not None else budget.cpu_s
        self.whole_s = (whole or 0.0) * share
        self.budget = budget
        self._begun = Cost.now()
        self._earlier = Cost()

    @classmethod
    def nothing(cls) -> PlanningBudget:
        """An empty budget, for choices by rules alone."""
        return cls(Budget(steps=1))

    @property
    def refusal(self) -> str:
        """The reason why nothing can be measured or tried; an empty text if it can."""
        if not self.budget.is_timed:
            return "runs with a budget of steps must be reproducible"
        if self.whole_s < MIN_S:
            return f"a budget of {self.budget} is too short to plan in"
        return ""

    @property
    def spent(self) -> Cost:
        """The cost so far."""
        return self._earlier + (Cost.now() - self._begun)

    @property
    def left_s(self) -> float:
        """The seconds left."""
        spent: float = getattr(self.spent, self.clock)
        return 0.0 if self.refusal else max(0.0, self.whole_s - spent)

    @property
    def is_used_up(self) -> bool:
        """Whether there was time to spend, and all of it is spent."""
        spent: float = getattr(self.spent, self.clock)
        return 0 < self.whole_s <= spent

    def pay(self, earlier: Cost) -> None:
        """Count a cost from before the start."""
        self._earlier += earlier

    def read(self) -> float:
        """The reading of the clock in seconds; only differences are meaningful."""
        reading: float = getattr(Cost.now(), self.clock)
        return reading

    def part(self, seconds: float) -> Budget:
        """A budget of this many seconds on the same clock."""
        return Budget(wall_s=seconds) if self.clock == "wall_s" else Budget(cpu_s=seconds)


def lookup(table: Mapping[str, Any], key: str) -> Any:
    """The value at a dotted key of nested tables; None if it is missing."""
    value: Any = table
    for name in key.split("."):
        if not isinstance(value, Mapping) or name not in value:
            return None
        value = value[name]
    return value


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
    """The user's choice of a setting; None if it was left open."""
    value = lookup(table, key)
    if value is None or value == "auto" or (key == "size" and value == 0):
        return None
    return Choice(key, value, "asked", "you asked for it")
