"""How the budget of an experiment is divided among its runs, each part written down before it takes effect."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from understudy.core.budget import Budget, Cost, format_seconds
from understudy.core.errors import RunFolderError
from understudy.core.files import write_json
from understudy.core.spending import READING, TOLERANCE, Spending
from understudy.engine.rundir import read_decisions

BASELINE = "supervised"
FILE = "budgets.json"
# Even where reading, planning and the report need more than the budget has, the models are trained for a fifth of it:
# a shorter training shows nothing, and the experiment says that it takes longer.
MIN_SHARE_TO_TRAIN = 0.2


@dataclass(frozen=True)
class BudgetSplit:
    """The budget of one experiment and what was granted of it so far.

    Args:
        folder: The run's, where grants are recorded so that a resumed run has the same; None records nothing.
        begun: When the time that the budget limits began.
        planning: What planning took of it.
        say: Shows a sentence to a person.
    """

    budget: Budget
    folder: Path | None
    begun: float
    planning: Cost
    spending: Spending
    say: Callable[[str], None]

    def granted(self) -> dict[str, dict[str, Any]]:
        """What an earlier process of the same run granted, by name."""
        return {} if self.folder is None else read_decisions(self.folder / FILE)

    def grant_first(self, num_runs: int, reserve_s: float) -> Budget:
        """Grant the first of several runs its part of what is left of a timed budget, or all the steps."""
        return self._grant(BASELINE, lambda: self.part_of(num_runs, reserve_s=reserve_s))

    def grant_second(self, baseline: Cost, reserve_s: float, *, on_processor: bool) -> Budget:
        """Grant the method as much processor or device time as the baseline spent.

        Args:
            on_processor: Whether processor time, not the wall clock, is what the two runs must have equal.
        """
        return self._grant("method", lambda: self._matched(baseline, reserve_s, on_processor))

    def grant_part(self, num_parts: int, reserve_s: float) -> Budget:
        """Grant each seed or fold an equal part, which includes its own evaluation."""
        return self._grant("part", lambda: self.part_of(num_parts, reserve_s=reserve_s))

    def part_of(self, num_parts: int, *, reserve_s: float) -> Budget:
        """An equal part of what is left; a number of steps is that of each run and is not divided.

        Args:
            reserve_s: Seconds of a wall-clock budget that no part gets, as far as these leave enough to train.
        """
        budget = self.budget
        if not budget.is_timed:
            return budget
        if budget.wall_s is None:
            assert budget.cpu_s is not None
            return Budget(cpu_s=(budget.cpu_s - self.planning.cpu_s) / num_parts)
        spent = time.perf_counter() - self.begun
        left = max(MIN_SHARE_TO_TRAIN * budget.wall_s, budget.wall_s - spent - reserve_s)
        whole = spent + left + reserve_s
        if whole > (1 + TOLERANCE) * budget.wall_s:
            reading = self.spending.wall_s(READING)
            read = f", {format_seconds(reading)} on reading images" if reading > 0.5 * spent else ""
            self.say(
                f"{format_seconds(spent)} of the budget of {budget} are spent{read}, and evaluation and report will "
                f"take about {format_seconds(reserve_s)}: training gets {format_seconds(left)} all the same, so the "
                f"command will take about {format_seconds(whole)}."
            )
        return Budget(wall_s=left / num_parts)

    def refuse_lost(self, name: str) -> None:
        """Make sure that a file which is written before the budget is divided has not been lost since.

        Raises:
            RunFolderError: It has.
        """
        if self.folder is not None and self.granted() and not (self.folder / name).exists():
            raise RunFolderError(
                f"{self.folder / name} is missing, though training had begun; restore it, "
                f"or delete {self.folder} and train again"
            )

    def _matched(self, baseline: Cost, reserve_s: float, on_processor: bool) -> Budget:
        """The cost of the baseline as a budget."""
        budget = self.budget
        if not budget.is_timed:
            return budget
        if not on_processor:
            return Budget(wall_s=baseline.wall_s)
        left = None
        if budget.wall_s is not None:
            left = budget.wall_s - reserve_s - (time.perf_counter() - self.begun)
            # More than the baseline's, so that a busier machine does not cut the comparison short: half of what may
            # be overrun without a word.
            left = max(baseline.wall_s, left) + 0.5 * TOLERANCE * budget.wall_s
        return Budget(cpu_s=baseline.cpu_s, wall_s=left)

    def _grant(self, name: str, decide: Callable[[], Budget]) -> Budget:
        """The recorded grant of that name, or a new one, recorded before it takes effect."""
        before = self.granted()
        if before.get(name):
            return Budget(**before[name])
        budget = decide()
        if self.folder is not None:
            limits = {limit: value for limit, value in asdict(budget).items() if value is not None}
            write_json(self.folder / FILE, self.granted() | {name: limits})
        return budget
