"""An ensemble of seeds, and the one network that learns what it says of the pool."""

from __future__ import annotations

import copy
import dataclasses
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, ClassVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from understudy.core.config import Knob, to_table
from understudy.core.errors import ConfigError
from understudy.core.files import write_json
from understudy.core.seeding import seed_torch
from understudy.core.types import PseudoLabels, Step
from understudy.engine.execution import pick_device
from understudy.engine.finalize import Trained
from understudy.engine.fit import fit
from understudy.engine.observers import Observer, Round, StepReport
from understudy.engine.predict import predict
from understudy.engine.rundir import RunFolder
from understudy.engine.stage import Stage
from understudy.models import build, find_head
from understudy.models.nets import Execution
from understudy.recipes.base import RECIPES, Purse, Recipe
from understudy.recipes.parts.initial_weights import is_fresh
from understudy.recipes.parts.pool_labels import PoolLabels, with_pseudo_labels

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

    summary: ClassVar[str] = "Several seeds of a method, and one network that learns what they say together."
    use_when: ClassVar[str] = "to bring several networks' accuracy into one, which may be smaller"

    num_members: Annotated[int, Knob("classifiers whose probabilities are averaged", 1)] = 3
    student: Annotated[str, Knob("name of the student's network; as the members' without one")] = ""
    student_share: Annotated[float, Knob("share of the budget for the student", 0.01, 0.99)] = 0.3
    temperature: Annotated[
        float, Knob("softens the targets: their logarithms are divided by it; under 1 it sharpens", 0.01)
    ] = 1.0
    lambda_u: Annotated[float, Knob("weight of the targets' loss; that of the true labels is 1", 0)] = 1.0
    labeled_share: Annotated[float, Knob("share of truly labeled rows in a batch, which repeats them", 0, 0.99)] = 0.25
    student_view: Annotated[
        str, Knob("augmentation of what the student sees", choices=("weak", "strong", "mixed"))
    ] = "mixed"  # fmt: skip

    def outline(self, method: str) -> str:
        """Who the members are, and what is left for the student."""
        share = f"{100 * self.student_share:.0f} % of it the student"
        return f"{self.name} ({self.num_members} seeds of {method}, {share})"

    def check(self, stage: Stage) -> None:
        """Nothing, when there is a pool to teach the student on and the student can be delivered.

        Raises:
            ConfigError: There is no unlabeled row, or a student is named for a module of the user's own.
            UserError: The student's name is none.
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
        self._student(stage)  # a name that is none is found out before hours went into the members

    def train(
        self,
        stage: Stage,
        folder: Path | None = None,
        *,
        observe: Sequence[Observer] = (),
        execution: Execution | None = None,
    ) -> Trained:
        """The student.

        Raises:
            UserError: As `check`.
        """
        self.check(stage)
        student = self._student(stage)
        if folder is None:
            return _Run(self, stage, student, None, observe, execution).train()
        run_folder = RunFolder(folder)
        with run_folder.claim():
            run_folder.recognize({"recipe": repr(sorted(to_table(self).items())), **stage.identity()})
            return _Run(self, stage, student, folder, observe, execution).train()

    def _student(self, stage: Stage) -> nn.Module:
        if not self.student or self.student == stage.network_name:
            return stage.network
        seed_torch("initial weights", stage.settings.seed)
        return build(self.student, shape=stage.data.row_shape, num_classes=len(stage.data.classes))


class _Run:
    """One call of the recipe."""

    def __init__(
        self,
        recipe: Ensemble,
        stage: Stage,
        student: nn.Module,
        folder: Path | None,
        observe: Sequence[Observer],
        execution: Execution | None,
    ) -> None:
        self.recipe, self.stage, self.student, self.folder, self.observe = recipe, stage, student, folder, observe
        self.execution = execution and dataclasses.replace(execution, chunks=1)
        self.device = pick_device(stage.settings.device)
        self.purse = Purse(stage.budget, folder)
        self.is_fresh = is_fresh(stage)
        self.lines: list[dict[str, Any]] = []

    def train(self) -> Trained:
        """Members, what they say of the pool, student."""
        members = [self.member(number) for number in range(self.recipe.num_members)]
        labels = self.label(members)
        choose = [self.probabilities(one, self.stage.data.validation) for one in members]
        note = f"averaged probabilities of {len(members)} members" + (
            "" if self.is_fresh else ", which began at the weights given and differ in head, order and augmentation"
        )
        self.tell("ensemble", None, np.mean(choose, 0), note, labels)
        del members
        trained = self.teach(labels)
        return dataclasses.replace(
            trained, steps=self.purse.spent_steps, cost=self.purse.cost, rounds=tuple(self.lines)
        )  # fmt: skip

    def member(self, number: int) -> Trained:
        """The classifier of one seed."""
        stage, name = self.stage, f"member {number + 1}"
        seed = stage.settings.seed + number
        part = dataclasses.replace(
            stage,
            name=name,
            settings=dataclasses.replace(stage.settings, seed=seed),
            network=self.initial(seed) if number else stage.network,
            budget=self.purse.grant(name, self.share_left(number)),
        )
        trained = self.fit(part, self.execution)
        self.execution = self.execution or dataclasses.replace(trained.execution, chunks=1)
        self.tell(name, trained, self.probabilities(trained, stage.data.validation), f"trained from seed {seed}")
        return trained

    def share_left(self, number: int) -> float:
        """What a member may spend of what is left: as much as each member after it, and the student its share."""
        share = (1 - self.recipe.student_share) / self.recipe.num_members
        return share / (1 - number * share)

    def initial(self, seed: int) -> nn.Module:
        """Initial weights of a further member."""
        stage = self.stage
        seed_torch("initial weights", seed)
        if self.is_fresh:
            return build(stage.network_name, shape=stage.data.row_shape, num_classes=len(stage.data.classes))
        network = copy.deepcopy(stage.network)
        find_head(network)[1].reset_parameters()
        return network

    def label(self, members: Sequence[Trained]) -> PoolLabels:
        """The members' averaged probabilities of the pool; once they are on disk, they are what is learned from."""
        path = None if self.folder is None else self.folder / "pseudo_labels.npz"
        if (saved := PoolLabels.load(path)) is not None:
            return saved
        ids, num_classes = self.stage.data.unlabeled, len(self.stage.data.classes)
        averaged = np.zeros((len(ids), num_classes), np.float16)
        label, confidence = np.zeros(len(ids), np.int64), np.zeros(len(ids), np.float32)
        for part in _parts(len(ids)):
            found = np.mean([self.probabilities(one, ids[part]) for one in members], 0)
            label[part], confidence[part] = found.argmax(-1), found.max(-1)
            averaged[part] = softened(found, self.recipe.temperature)
        labels = PoolLabels(ids, label, confidence, np.ones(len(ids), np.int64), averaged)
        if path is not None:
            labels.save(path)
        return labels

    def teach(self, labels: PoolLabels) -> Trained:
        """The student of these probabilities."""
        stage, recipe = self.stage, self.recipe
        method = stage.settings.method
        plain = method.baseline()
        part = Stage(
            name="student",
            settings=dataclasses.replace(stage.settings, method=plain, labeled_view=recipe.student_view),
            data=with_pseudo_labels(
                stage.data, labels, lambda_u=recipe.lambda_u, labeled_share=recipe.labeled_share
            ),
            network=self.student,
            network_name=recipe.student or stage.network_name,
            budget=self.purse.grant("student", 1.0),
        )  # fmt: skip
        same = self.student is stage.network
        trained = self.fit(part, self.execution if same else None)
        sizes = _num_weights(stage.network), _num_weights(self.student)
        than = "smaller than" if sizes[1] < sizes[0] else "larger than" if sizes[1] > sizes[0] else "as large as"
        note = f"the student has {sizes[1]:,} weights, {than} a member's {sizes[0]:,}"
        trained = dataclasses.replace(trained, network_name=recipe.student or stage.network_name)
        self.tell("student", trained, self.probabilities(trained, stage.data.validation), note)
        return trained

    def fit(self, part: Stage, execution: Execution | None) -> Trained:
        """A run of the recipe in a folder of its own, paid for."""
        folder = None if self.folder is None else self.folder / part.name.replace(" ", "-")
        return self.purse.pay(fit(part, folder, observe=self.observe, execution=execution))

    def probabilities(self, one: Trained, ids: NDArray[np.int64]) -> NDArray[np.float32]:
        """Class probabilities of rows."""
        return predict(one.model, self.stage.data, ids, device=self.device, execution=one.execution)

    def tell(
        self,
        name: str,
        trained: Trained | None,
        choose: NDArray[np.float32],
        note: str,
        labels: PoolLabels | None = None,
    ) -> None:
        """The line about a member, all of them, or the student, kept and given to whoever watches."""
        data, number = self.stage.data, len(self.lines)
        accuracy = float((choose.argmax(-1) == data.validation_targets).mean()) if len(data.validation) else None
        cost = trained.cost if trained else self.purse.cost
        steps = trained.steps if trained else 0
        line = {"round": number, "name": name, "validation_accuracy": accuracy, "steps": steps, "note": note}
        self.lines.append(line | {"cpu_s": cost.cpu_s, "wall_s": cost.wall_s, "returned": name == "student"})
        if self.folder is not None:
            write_json(self.folder / "rounds.json", self.lines)
        pseudo_labels = None
        if labels is not None:
            position = len(data.labeled) + torch.arange(len(labels.ids))
            pseudo_labels = PseudoLabels(position, torch.from_numpy(labels.label), torch.ones(len(labels.ids)))
        report = StepReport(
            name, Step(max(0, steps - 1), 1.0), (), 1.0, 2, self.purse.cost, self.stage.budget, None,
            round=Round(number, self.lines[-1], pseudo_labels),
        )  # fmt: skip
        for observer in self.observe:
            observer(report)


def softened(probabilities: NDArray[np.float32], temperature: float) -> NDArray[np.float32]:
    """Probabilities whose logarithms are divided by a temperature, in proportion to 1."""
    if temperature == 1:
        return probabilities
    powers = (probabilities / probabilities.max(-1, keepdims=True)) ** (1 / temperature)
    return powers / powers.sum(-1, keepdims=True)  # type: ignore[no-any-return]


def _parts(count: int) -> Iterator[slice]:
    return (slice(start, start + _ROWS_AT_ONCE) for start in range(0, count, _ROWS_AT_ONCE))


def _num_weights(network: nn.Module) -> int:
    return sum(parameter.numel() for parameter in network.parameters())
