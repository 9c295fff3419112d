"""What a recipe is: settings, and a plain function of a stage and a folder that calls `fit`, once or many times."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, ClassVar

from understudy.core.budget import Budget, Cost
from understudy.core.config import Config
from understudy.core.files import write_json
from understudy.core.registry import Registry
from understudy.engine.finalize import Trained
from understudy.engine.observers import Observer
from understudy.engine.rundir import read_decisions
from understudy.engine.stage import Stage
from understudy.models.nets import Execution

RECIPES: Registry[Any] = Registry("recipe", "understudy.recipes")


@dataclass(frozen=True, kw_only=True)
class Recipe(Config):
    """How training runs are put together to make one classifier.

    Class attributes: `summary` (idea in a sentence), `use_when`.
    """

    variants: ClassVar[Registry[Any] | None] = RECIPES
    summary: ClassVar[str]
    use_when: ClassVar[str]

    def outline(self, method: str) -> str:  # noqa: ARG002
        """What the run is called before it begins: the recipe, and how it divides its budget where that is fixed."""
        return self.name

    def check(self, stage: Stage) -> None:
        """Nothing, when the recipe suits the stage: asked before anything is trained, and by `train` once more.

        Raises:
            UserError: It does not.
        """

    def train(
        self,
        stage: Stage,
        folder: Path | None = None,
        *,
        observe: Sequence[Observer] = (),
        execution: Execution | None = None,
    ) -> Trained:
        """The classifier that all runs together give, within the stage's budget; as resumable as `fit` is.

        Args:
            stage: Data, initial network and settings; its method is the one a semi-supervised run of the recipe uses.
            folder: Where the runs keep their folders; without one nothing is written.
            execution: How the run to compare with was executed.
        """
        raise NotImplementedError


@dataclass
class Purse:
    """What a recipe may still spend of its budget; grants are written down, so that a resumed run gets the same ones.

    Every part of the work is paid for: what `fit` cost as `Trained.cost`, and the rest between two grants by the clock.
    """

    budget: Budget
    folder: Path | None
    spent: Cost = field(default_factory=Cost)
    spent_steps: int = 0
    begun: Cost = field(default_factory=Cost.now)

    def grant(self, name: str, share: float, *, reserve: float = 0.0) -> Budget:
        """A part of what is left, under a name that is unique in the recipe.

        Args:
            reserve: Share of the whole budget that is kept for later work and not divided.
        """
        granted = self.recorded(name, lambda: asdict(self._part(share, reserve)))
        self.begun = Cost.now()
        return Budget(**granted)

    def recorded(self, name: str, decide: Callable[[], Any]) -> Any:
        """A decision that depends on the clock; a resumed run reads the decision of its earlier process."""
        written = self._written()
        if name not in written:
            written[name] = decide()
            if self.folder is not None:
                self.folder.mkdir(parents=True, exist_ok=True)
                write_json(self.folder / "purse.json", written)
        return written[name]

    @property
    def left(self) -> float:
        """The share of the whole budget that is not spent yet."""
        return max(0.0, 1.0 - self.cost.share_of(self.budget, self.spent_steps))

    def pay(self, trained: Trained) -> Trained:
        """The finished run, its cost taken from the purse."""
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
            return None if total is None else max(1e-3 * total, (total - spent - reserve * total) * share)

        steps = None if budget.steps is None else max(1, round((budget.steps - self.spent_steps) * share))
        return Budget(left(budget.wall_s, self.spent.wall_s), left(budget.cpu_s, self.spent.cpu_s), steps)

    def _written(self) -> dict[str, Any]:
        return {} if self.folder is None else read_decisions(self.folder / "purse.json")
