"""How long a run may take: wall seconds, processor seconds or steps, and the clock that measures it."""

from __future__ import annotations

import math
import re
import time
from dataclasses import dataclass, field

from understudy.core.arguments import check, quoted
from understudy.core.errors import ConfigError

MAX_EPOCHS = 1e6  # more is a mistake; the number of steps stays a whole number
_SECONDS = {"s": 1, "m": 60, "h": 3600}


@dataclass(frozen=True)
class Budget:
    """One limit on a training run; several may be set, and the first one reached ends the run.

    Args:
        wall_s: Seconds on the wall clock.
        cpu_s: Seconds of processor time of this process, all threads together.
        steps: Optimizer steps.
        epochs: Passes over the training images; `with_epochs_as_steps` makes them steps before anything is trained.

    Examples:
        >>> import understudy
        >>> understudy.Budget.parse("10m")
        Budget(wall_s=600.0, cpu_s=None, steps=None)
        >>> str(understudy.Budget(steps=5000))
        '5000 steps'
    """

    wall_s: float | None = None
    cpu_s: float | None = None
    steps: int | None = None
    epochs: float | None = field(default=None, repr=False)  # a stage, whose identity holds this repr, never has any

    def __post_init__(self) -> None:
        limits = [value for value in (self.wall_s, self.cpu_s, self.steps, self.epochs) if value is not None]
        if not limits or any(not 0 < value < float("inf") for value in limits):
            raise ConfigError(f"a budget must be above zero, got {self!r}; give for example 90s, 10m, 2h or 5000steps")

    @classmethod
    def parse(cls, text: str | Budget) -> Budget:
        """The budget that `90s`, `10m`, `2h`, `1200cpu-s`, `5000steps` or `10epochs` stands for.

        Raises:
            ConfigError: The text has another form, or the number is not above zero.
        """
        if isinstance(text, Budget):
            return text
        check(budget=text)
        match = re.fullmatch(r"(\d+(?:\.\d+)?)\s*(s|m|h|cpu-s|steps|epochs?)", text.strip().lower())
        if match is not None and match[2].startswith("epoch"):
            if not 0 < float(match[1]) <= MAX_EPOCHS:
                raise ConfigError(
                    f"budget {quoted(text)} is not a number of epochs above zero; give for example 10epochs"
                )
            return cls(epochs=float(match[1]))
        if match is None or float(match[1]) == 0 or (match[2] == "steps" and "." in match[1]):
            raise ConfigError(
                f"budget {quoted(text)} is not a length of time or a number of steps above zero; "
                "give for example 90s, 10m, 2h, 1200cpu-s, 5000steps or 10epochs"
            )
        if match[2] == "steps":
            return cls(steps=int(match[1]))
        if match[2] == "cpu-s":
            return cls(cpu_s=float(match[1]))
        return cls(wall_s=float(match[1]) * _SECONDS[match[2]])

    @property
    def text(self) -> str:
        """Text that `parse` reads as this budget, for options and files, which hold a single limit."""
        if self.epochs is not None:
            return f"{_number(self.epochs)}epochs"
        if self.steps is not None:
            return f"{self.steps}steps"
        if self.wall_s is None:
            assert self.cpu_s is not None
            return f"{_number(self.cpu_s)}cpu-s"
        unit = next((unit for unit in ("h", "m") if self.wall_s % _SECONDS[unit] == 0), "s")
        return f"{_number(self.wall_s / _SECONDS[unit])}{unit}"

    def with_epochs_as_steps(self, num_images: int, batch_size: int) -> Budget:
        """The budget with epochs as steps; an epoch has as many as there are batches in the training images.

        Args:
            num_images: Training images, labeled and unlabeled.
            batch_size: Labeled rows per step. Unlabeled rows of a step do not count, so that an epoch has the same
                number of steps for every method.
        """
        if self.epochs is None:
            return self
        return Budget(steps=max(1, math.ceil(self.epochs * num_images / max(1, batch_size))))

    @property
    def is_timed(self) -> bool:
        """Whether a clock, not a count, decides when the run ends."""
        return self.wall_s is not None or self.cpu_s is not None

    def __str__(self) -> str:
        parts = []
        if self.wall_s is not None:
            parts.append(format_seconds(self.wall_s))
        if self.cpu_s is not None:
            parts.append(f"{self.cpu_s:.4g} cpu-s")
        if self.steps is not None:
            parts.append(f"{self.steps} steps")
        if self.epochs is not None:
            parts.append(f"{_number(self.epochs)} epochs")
        return " or ".join(parts)


@dataclass(frozen=True)
class Cost:
    """Time spent: on the wall clock, and of the processor by all threads of this process."""

    wall_s: float = 0.0
    cpu_s: float = 0.0

    @classmethod
    def now(cls) -> Cost:
        """The clocks' present readings; only differences mean something."""
        return cls(time.perf_counter(), time.process_time())

    def __add__(self, other: Cost) -> Cost:
        return Cost(self.wall_s + other.wall_s, self.cpu_s + other.cpu_s)

    def __sub__(self, other: Cost) -> Cost:
        return Cost(self.wall_s - other.wall_s, self.cpu_s - other.cpu_s)

    def share_of(self, budget: Budget, step: int = 0) -> float:
        """The share of the budget that is spent after this time and number of steps."""
        shares = [step / budget.steps if budget.steps is not None else 0.0]
        if budget.wall_s is not None:
            shares.append(self.wall_s / budget.wall_s)
        if budget.cpu_s is not None:
            shares.append(self.cpu_s / budget.cpu_s)
        return max(shares)


def format_seconds(seconds: float) -> str:
    """A length of time as a person writes it: 8.4 s, 90 s, 10 min, 2 h 5 min."""
    if seconds < 10:
        return f"{seconds:.1f} s"
    if seconds < 120:
        return f"{seconds:.0f} s"
    minutes = round(seconds / 60)
    if minutes < 120:
        return f"{minutes} min"
    return f"{minutes // 60} h {minutes % 60} min"


def _number(value: float) -> str:
    """A number without trailing zeros or an exponent, to the millionth."""
    return f"{value:f}".rstrip("0").rstrip(".")
