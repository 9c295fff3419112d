"""What a recipe is: settings, and a plain function that calls `fit` once or many times within one budget."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import torch
from numpy.typing import NDArray

from understudy.core.budget import Cost
from understudy.core.config import Config, to_table
from understudy.core.files import write_json
from understudy.core.registry import Registry
from understudy.core.types import PseudoLabels, Step
from understudy.engine.execution import pick_device
from understudy.engine.finalize import Trained
from understudy.engine.fit import fit
from understudy.engine.observers import Observer, Round, StepReport
from understudy.engine.predict import predict
from understudy.engine.rundir import RunFolder
from understudy.engine.stage import Stage
from understudy.models.nets import Execution
from understudy.recipes.parts.budget_ledger import BudgetLedger
from understudy.recipes.parts.pool_labels import PoolLabels

RECIPES: Registry[Any] = Registry("recipe", "understudy.recipes")


@dataclass(frozen=True, kw_only=True)
class Recipe(Config):
    """How training runs are put together to make one classifier.

    A recipe defines `train_stages`: the algorithm, whose every training run is a `run.fit`. `train` calls it with the
    folder claimed, so that a killed recipe resumes and one with other settings is refused.

    Class attributes: `summary` (idea in a sentence), `use_when`.
    """

    variants: ClassVar[Registry[Any] | None] = RECIPES
    summary: ClassVar[str]
    use_when: ClassVar[str]

    def outline(self, method: str) -> str:  # noqa: ARG002
        """What the run is called before it begins: the recipe, and how it divides its budget where that is fixed."""
        return self.name

    def check(self, stage: Stage) -> None:
        """Validate that the recipe suits the stage, before anything is trained.

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
        """Train the classifier within the stage's budget; as resumable as `fit` is.

        Args:
            stage: Data, initial network and settings; its method is the one a semi-supervised run of the recipe uses.
            folder: Where the runs keep their folders; without one nothing is written.
            execution: How the run to compare with was executed.

        Raises:
            UserError: As `check`.
        """
        self.check(stage)
        run = RecipeRun(stage, folder, observe, execution)
        if folder is None:
            return self.train_stages(run)
        run_folder = RunFolder(folder)
        with run_folder.claim():
            run_folder.recognize({"recipe": repr(sorted(to_table(self).items())), **stage.identity()})
            return self.train_stages(run)

    def train_stages(self, run: RecipeRun) -> Trained:
        """Train the recipe's stages one after another, and return the classifier they end with."""
        raise NotImplementedError


class RecipeRun:
    """One call of a recipe: what it was given, the budget that is left, and the records of its finished rounds."""

    def __init__(
        self, stage: Stage, folder: Path | None, observers: Sequence[Observer], execution: Execution | None
    ) -> None:
        self.stage, self.folder, self.observers, self.execution = stage, folder, observers, execution
        self.device = pick_device(stage.settings.device)
        self.ledger = BudgetLedger(stage.budget, folder)
        self.records: list[dict[str, Any]] = []

    def subfolder(self, name: str) -> Path | None:
        """Where the stage of this name keeps its files."""
        return None if self.folder is None else self.folder / name.replace(" ", "-")

    def fit(self, stage: Stage, execution: Execution | None) -> Trained:
        """Train a stage in the subfolder of its name, and pay for it from the budget."""
        return self.ledger.pay(
            fit(stage, self.subfolder(stage.name), observe=self.observers, execution=execution)
        )  # fmt: skip

    def predict(self, trained: Trained, rows: NDArray[np.int64]) -> NDArray[np.float32]:
        """Class probabilities of rows by a finished run."""
        return predict(trained.model, self.stage.data, rows, device=self.device, execution=trained.execution)

    def validation_accuracy(self, probabilities: NDArray[np.float32]) -> float | None:
        """The accuracy of probabilities of the validation rows; None where there are none."""
        targets = self.stage.data.validation_targets
        return float((probabilities.argmax(-1) == targets).mean()) if len(targets) else None

    def record(self, name: str, steps: int, cost: Cost, **figures: Any) -> dict[str, Any]:
        """The record of the next round: its number, name and cost, and whatever else is known of it."""
        spent = {"steps": steps, "cpu_s": cost.cpu_s, "wall_s": cost.wall_s}
        return {"round": len(self.records), "name": name, **figures, **spent}

    def report_round(self, record: dict[str, Any], labels: PoolLabels | None = None) -> None:
        """Keep the record of a finished round, write it to `rounds.json`, and show it to the observers.

        Args:
            labels: The pseudo-labels that the round was trained on or made.
        """
        self.records.append(record)
        self.write_records()
        self.notify(record["name"], record["steps"], record, labels)

    def notify(self, name: str, steps: int, record: Mapping[str, Any], labels: PoolLabels | None = None) -> None:
        """Show a record to the observers without keeping it."""
        pseudo_labels = None if labels is None else self._by_pool_position(labels)
        report = StepReport(
            run=name,
            step=Step(max(0, steps - 1), 1.0),
            losses=(),
            progress=1.0,
            phase=2,
            spent=self.ledger.cost,
            budget=self.stage.budget,
            evaluation=None,
            round=Round(record.get("round", 0), record, pseudo_labels),
        )
        for observer in self.observers:
            observer(report)

    def write_records(self) -> None:
        """Write all records to `rounds.json`, if there is a folder."""
        if self.folder is not None:
            write_json(self.folder / "rounds.json", self.records)

    def conclude(self, trained: Trained, number: int, **changes: Any) -> Trained:
        """Return a round's classifier at the cost of the whole recipe, and mark its record as the returned one.

        Args:
            number: Of the round.
            changes: Further fields of the result.
        """
        for record in self.records:
            record["returned"] = record["round"] == number
        self.write_records()
        return self.at_full_cost(trained, rounds=tuple(self.records), **changes)

    def at_full_cost(self, trained: Trained, **changes: Any) -> Trained:
        """The classifier with the steps and the cost of the whole recipe."""
        return dataclasses.replace(trained, steps=self.ledger.spent_steps, cost=self.ledger.cost, **changes)

    def _by_pool_position(self, labels: PoolLabels) -> PseudoLabels:
        """The labels as observers take them: by position in the pool, where labeled rows come before unlabeled ones."""
        data = self.stage.data
        order = np.argsort(data.unlabeled)  # only a part of the pool is labeled where labeling all would cost too much
        rank = order[np.searchsorted(data.unlabeled, labels.ids, sorter=order)]
        position = torch.from_numpy(len(data.labeled) + rank)
        return PseudoLabels(position, torch.from_numpy(labels.label), torch.from_numpy(labels.kept).float())
