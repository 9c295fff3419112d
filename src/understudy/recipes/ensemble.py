"""An ensemble of seeds, and one student network that learns the members' averaged probabilities of the pool."""

from __future__ import annotations

import copy
import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, ClassVar

import numpy as np
from numpy.typing import NDArray
from torch import nn

from understudy.core.budget import Cost
from understudy.core.config import Knob
from understudy.core.errors import ConfigError
from understudy.core.seeding import seed_torch
from understudy.engine.finalize import Trained
from understudy.engine.stage import Stage
from understudy.models import build, find_head
from understudy.recipes.base import RECIPES, Recipe, RecipeRun
from understudy.recipes.parts.initial_weights import is_fresh
from understudy.recipes.parts.network_size import size_note
from understudy.recipes.parts.pool_labels import PoolLabels, with_pseudo_labels

# Predictions of so many rows are held in float32 at a time: 33 MB for 1,000 classes.
_ROWS_AT_ONCE = 8192


@RECIPES.register("ensemble")
@dataclass(frozen=True, kw_only=True)
class Ensemble(Recipe):
    """Several classifiers of the stage's method, and one student that learns their averaged probabilities of the pool.

    Member i has the stage's seed plus i, and with it another order of rows and other augmentations. Where the stage's
    network is a fresh one of this package, its initial weights are drawn anew too; else only its head is. The student
    learns true labels and, for every unlabeled row, the members' averaged probabilities (Hinton et al., 2015,
    https://arxiv.org/abs/1503.02531); it is what is delivered, so that prediction costs one network. `student_share`
    of the budget is the student's, the rest is the members' in equal parts; predicting the pool is paid from it too.

    Differs from the paper: the targets are averaged probabilities, not logits, softened by `temperature` alone.
    """

    summary: ClassVar[str] = "Several seeds of a method, distilled into one network."
    use_when: ClassVar[str] = "to get the accuracy of several networks from one, which may be smaller"

    num_members: Annotated[int, Knob("number of classifiers whose probabilities are averaged", 1)] = 3
    student: Annotated[str, Knob("network of the student; by default that of the members")] = ""
    student_share: Annotated[float, Knob("share of the budget for training the student", 0.01, 0.99)] = 0.3
    temperature: Annotated[float, Knob("temperature of the targets: above 1 softens, below 1 sharpens", 0.01)] = 1.0
    lambda_u: Annotated[
        float, Knob("weight of the loss on the ensemble's predictions; true labels have weight 1", 0)
    ] = 1.0
    labeled_share: Annotated[
        float, Knob("share of labeled rows in a batch; they are repeated to reach it", 0, 0.99)
    ] = 0.25
    student_view: Annotated[
        str, Knob("augmentation of the student's training images", choices=("weak", "strong", "mixed"))
    ] = "mixed"  # fmt: skip

    def outline(self, method: str) -> str:
        """The members, and the student's share of the budget."""
        share = f"{100 * self.student_share:.0f} % of it the student"
        return f"{self.name} ({self.num_members} seeds of {method}, {share})"

    def check(self, stage: Stage) -> None:
        """Validate that there is a pool to train the student on, and that the student can be built.

        Raises:
            ConfigError: There is no unlabeled row, or a student is named for a module of the user's own.
            UserError: The student's network is unknown.
        """
        if not len(stage.data.unlabeled):
            raise ConfigError(
                f"recipe {self.name} teaches its student on unlabeled images and there are none; "
                "give some, or take the recipe plain"
            )
        if self.student and stage.network_name.startswith("module:"):
            raise ConfigError(
                f"recipe.student is {self.student!r}, and your own module could not be trained in place; "
                "leave student empty, or give the network by name"
            )
        self.student_network(stage)  # fail on an unknown network before hours are spent on the members

    def train_stages(self, run: RecipeRun) -> Trained:
        """Train the members, average their probabilities of the pool, and train the student on the averages."""
        run.execution = run.execution and dataclasses.replace(run.execution, chunks=1)
        initial_student = self.student_network(run.stage)
        has_fresh_weights = is_fresh(run.stage)
        members = [self.train_member(run, number, has_fresh_weights) for number in range(self.num_members)]
        labels = self.label_pool(run, members)
        self.report_average(run, members, labels, has_fresh_weights)
        del members
        student = self.train_student(run, labels, initial_student)
        return run.conclude(student, run.records[-1]["round"])

    def train_member(self, run: RecipeRun, number: int, has_fresh_weights: bool) -> Trained:
        """Train the classifier of one seed."""
        stage, name = run.stage, f"member {number + 1}"
        seed = stage.settings.seed + number
        member = dataclasses.replace(
            stage,
            name=name,
            settings=dataclasses.replace(stage.settings, seed=seed),
            network=_initial_network(stage, seed, has_fresh_weights) if number else stage.network,
            budget=run.ledger.grant(name, self.share_left(number)),
        )
        trained = run.fit(member, run.execution)
        run.execution = run.execution or dataclasses.replace(trained.execution, chunks=1)
        accuracy = run.validation_accuracy(run.predict(trained, stage.data.validation))
        self.report(run, name, trained.steps, trained.cost, accuracy, f"trained from seed {seed}")
        return trained

    def share_left(self, number: int) -> float:
        """What a member may spend of what is left: as much as each member after it, and the student its share."""
        share = (1 - self.student_share) / self.num_members
        return share / (1 - number * share)

    def label_pool(self, run: RecipeRun, members: Sequence[Trained]) -> PoolLabels:
        """Average the members' probabilities of the pool; averages that are on disk already are the ones learned."""
        path = None if run.folder is None else run.folder / "pseudo_labels.npz"
        if (saved := PoolLabels.load(path)) is not None:
            return saved
        rows, num_classes = run.stage.data.unlabeled, len(run.stage.data.classes)
        averaged = np.zeros((len(rows), num_classes), np.float16)
        label, confidence = np.zeros(len(rows), np.int64), np.zeros(len(rows), np.float32)
        for start in range(0, len(rows), _ROWS_AT_ONCE):
            part = slice(start, start + _ROWS_AT_ONCE)
            probabilities = np.mean([run.predict(member, rows[part]) for member in members], 0)
            label[part], confidence[part] = probabilities.argmax(-1), probabilities.max(-1)
            averaged[part] = softened(probabilities, self.temperature)
        labels = PoolLabels(rows, label, confidence, np.ones(len(rows), np.int64), averaged)
        if path is not None:
            labels.save(path)
        return labels

    def train_student(self, run: RecipeRun, labels: PoolLabels, network: nn.Module) -> Trained:
        """Train the student on these probabilities."""
        stage = run.stage
        network_name = self.student or stage.network_name
        student = Stage(
            name="student",
            settings=dataclasses.replace(
                stage.settings, method=stage.settings.method.baseline(), labeled_view=self.student_view
            ),
            data=with_pseudo_labels(stage.data, labels, lambda_u=self.lambda_u, labeled_share=self.labeled_share),
            network=network,
            network_name=network_name,
            budget=run.ledger.grant("student", 1.0),
        )
        trained = run.fit(student, run.execution if network is stage.network else None)
        trained = dataclasses.replace(trained, network_name=network_name)
        accuracy = run.validation_accuracy(run.predict(trained, stage.data.validation))
        note = size_note(network, stage.network, "a member's")
        self.report(run, "student", trained.steps, trained.cost, accuracy, note)
        return trained

    def student_network(self, stage: Stage) -> nn.Module:
        """The student's initial network."""
        if not self.student or self.student == stage.network_name:
            return stage.network
        seed_torch("initial weights", stage.settings.seed)
        return build(self.student, shape=stage.data.row_shape, num_classes=len(stage.data.classes))

    def report_average(
        self, run: RecipeRun, members: Sequence[Trained], labels: PoolLabels, has_fresh_weights: bool
    ) -> None:
        """Report how the members do together."""
        rows = run.stage.data.validation
        accuracy = run.validation_accuracy(np.mean([run.predict(member, rows) for member in members], 0))
        note = f"averaged probabilities of {len(members)} members"
        if not has_fresh_weights:
            note += ", which started from the given weights and differ in head, order and augmentation"
        self.report(run, "ensemble", 0, run.ledger.cost, accuracy, note, labels)

    def report(
        self,
        run: RecipeRun,
        name: str,
        steps: int,
        cost: Cost,
        accuracy: float | None,
        note: str,
        labels: PoolLabels | None = None,
    ) -> None:
        """Report a member, all of them together, or the student."""
        run.report_round(run.record(name, steps, cost, validation_accuracy=accuracy, note=note), labels)


def softened(probabilities: NDArray[np.float32], temperature: float) -> NDArray[np.float32]:
    """Probabilities whose logarithms are divided by a temperature, normalized again."""
    if temperature == 1:
        return probabilities
    powers = (probabilities / probabilities.max(-1, keepdims=True)) ** (1 / temperature)
    return powers / powers.sum(-1, keepdims=True)  # type: ignore[no-any-return]


def _initial_network(stage: Stage, seed: int, has_fresh_weights: bool) -> nn.Module:
    """The initial network of a further member: drawn anew, or the given one with a head drawn anew."""
    seed_torch("initial weights", seed)
    if has_fresh_weights:
        return build(stage.network_name, shape=stage.data.row_shape, num_classes=len(stage.data.classes))
    network = copy.deepcopy(stage.network)
    find_head(network)[1].reset_parameters()
    return network
