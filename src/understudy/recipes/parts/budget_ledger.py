"""The budget of a recipe: what was spent, what is left, and grants that a resumed run repeats."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from understudy.core.budget import Budget, Cost
from understudy.core.files import write_json
from understudy.engine.finalize import Trained
from understudy.engine.rundir import read_decisions

GRANTS = "grants.json"
# Whatever is overspent, a run gets this share of the whole, so that it has a step to end with.
_MIN_GRANT = 1e-3


@dataclass
class BudgetLedger:
    """What a recipe may still spend of its budget; grants are written down, so that a resumed run gets the same ones.

    Every part of the work is paid for: what `fit` cost as `Trained.cost`, and the rest between two grants by the clock.
    """

    budget: Budget
    folder: Path | None
    spent: Cost = field(default_factory=Cost)
    spent_steps: int = 0
    begun: Cost = field(default_factory=Cost.now)

    def grant(self, name: str, share: float, *, reserve: float = 0.0) -> Budget:
        """Grant a part of what is left, under a name that is unique in the recipe.

        Args:
            reserve: Share of the whole budget that is kept for later work and not divided.
        """
        granted = self.recorded(name, lambda: asdict(self._part(share, reserve)))
        self.begun = Cost.now()
        return Budget(**granted)

    def recorded(self, name: str, decide: Callable[[], Any]) -> Any:
        """A decision that depends on the clock; a resumed run reads the decision of its earlier process."""
        decisions = self._written()
        if name not in decisions:
            decisions[name] = decide()
            if self.folder is not None:
                self.folder.mkdir(parents=True, exist_ok=True)
                write_json(self.folder / GRANTS, decisions)
        return decisions[name]

    @property
    def left(self) -> float:
        """The share of the whole budget that is not spent yet."""
        return max(0.0, 1.0 - self.spent_share)

    @property
    def spent_share(self) -> float:
        """The share of the whole budget that is spent, above 1 where it is overspent."""
        return self.cost.share_of(self.budget, self.spent_steps)

    def pay(self, trained: Trained) -> Trained:
        """Charge a finished run to the budget, and give it back."""
        self.spent += trained.cost
        self.spent_steps += trained.steps
        self.begun = Cost.now()
        return trained

    @property
    def cost(self) -> Cost:
        """Spent so far, the work since the last run or grant included."""
        return self.spent + (Cost.now() - self.begun)

    def _part(self, share: float, reserve: float) -> Budget:
        self.spent, self.begun = self.cost, Cost.now()
        budget = self.budget

        def left(total: float | None, spent: float) -> float | None:
            return None if total is None else max(_MIN_GRANT * total, (total - spent - reserve * total) * share)

        steps = None if budget.steps is None else max(1, round((budget.steps - self.spent_steps) * share))
        return Budget(left(budget.wall_s, self.spent.wall_s), left(budget.cpu_s, self.spent.cpu_s), steps)

    def _written(self) -> dict[str, Any]:
        return {} if self.folder is None else read_decisions(self.folder / GRANTS)
