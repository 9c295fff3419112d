"""How long a run may take: wall seconds, processor seconds or steps, and the clock that measures it."""

from __future__ import annotations

import math
import re
import time
from dataclasses import dataclass

from understudy.core.arguments import check, shown
from understudy.core.errors import ConfigError

_MOST_EPOCHS = 1e6  # more is a mistake; the number of steps stays a whole number
_SECONDS = {"s": 1, "m": 60, "h": 3600}


@dataclass(frozen=True)
class Budget:
    """One limit on a training run; several may be set, and the first one reached ends the run.

    Args:
        wall_s: Seconds on the wall clock.
        cpu_s: Seconds of processor time of this process, all threads together.
        steps: Optimizer steps.

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

    def __post_init__(self) -> None:
        limits = [value for value in (self.wall_s, self.cpu_s, self.steps) if value is not None]
        if not limits or any(not 0 < value < float("inf") for value in limits):
            raise ConfigError(f"a budget must be above zero, got {self!r}; give for example 90s, 10m, 2h or 5000steps")

    @classmethod
    def parse(cls, text: str | Budget) -> Budget:
        """The budget that `90s`, `10m`, `2h`, `1200cpu-s` or `5000steps` stands for.

        Raises:
            ConfigError: The text is none of these, or the number is not above zero.
        """
        if isinstance(text, Budget):
            return text
        check(budget=text)
        if epochs_of(text) is not None:
            raise ConfigError(
                f"budget {shown(text)} counts epochs, which needs the images; give steps, such as 5000steps"
            )
        match = re.fullmatch(r"(\d+(?:\.\d+)?)\s*(s|m|h|cpu-s|steps)", text.strip().lower())
        if match is None or float(match[1]) == 0 or (match[2] == "steps" and "." in match[1]):
            raise ConfigError(
                f"budget {shown(text)} is not a length of time or a number of steps above zero; "
                "give for example 90s, 10m, 2h, 1200cpu-s, 5000steps or 10epochs"
            )
        if match[2] == "steps":
            return cls(steps=int(match[1]))
        if match[2] == "cpu-s":
            return cls(cpu_s=float(match[1]))
        return cls(wall_s=float(match[1]) * _SECONDS[match[2]])

    @classmethod
    def kind(cls, text: str | Budget) -> Budget:
        """The budget of the text, where what it allows in steps may not be known yet: one step stands for epochs.

        Raises:
            ConfigError: The text is not a budget.
        """
        return cls(steps=1) if isinstance(text, str) and epochs_of(text) is not None else cls.parse(text)

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
        return " or ".join(parts)


def epochs_of(text: str) -> float | None:
    """The number of epochs that `10epochs` stands for, or None when the text counts something else.

    Raises:
        ConfigError: The number is not above zero.
    """
    match = re.fullmatch(r"(\d+(?:\.\d+)?)\s*epochs?", text.strip().lower())
    if match is None:
        return None
    if not 0 < float(match[1]) <= _MOST_EPOCHS:
        raise ConfigError(f"budget {shown(text)} is not a number of epochs above zero; give for example 10epochs")
    return float(match[1])


def as_steps(text: str, num_images: int, batch_size: int) -> str:
    """The budget with epochs as steps; an epoch has as many as there are batches in the training images.

    Args:
        num_images: Training images, labeled and unlabeled.
        batch_size: Labeled rows per step. Unlabeled rows of a step do not count, so that an epoch has the same number
            of steps for every method.
    """
    epochs = epochs_of(text)
    if epochs is None:
        return text
    return f"{max(1, math.ceil(epochs * num_images / max(1, batch_size)))}steps"


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
        """The part of the budget that is spent after this time and so many steps, 1 at its end."""
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
