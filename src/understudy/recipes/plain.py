"""The plain recipe: one run of the stage's method."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from understudy.engine.finalize import Trained
from understudy.engine.fit import fit
from understudy.engine.observers import Observer
from understudy.engine.stage import Stage
from understudy.models.nets import Execution
from understudy.recipes.base import RECIPES, Recipe


@RECIPES.register("plain")
@dataclass(frozen=True, kw_only=True)
class Plain(Recipe):
    """One run: the method alone, with nothing before or after it."""

    summary: ClassVar[str] = "One run of one method."
    use_when: ClassVar[str] = "by default"

    def outline(self, method: str) -> str:
        """The method alone."""
        return method

    def train(
        self,
        stage: Stage,
        folder: Path | None = None,
        *,
        observe: Sequence[Observer] = (),
        execution: Execution | None = None,
    ) -> Trained:
        """Train the method, in this very folder: the run is the recipe."""
        return fit(stage, folder, observe=observe, execution=execution)
