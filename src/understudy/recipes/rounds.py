"""Rounds: a teacher labels the pool, a fresh student learns from true and pseudo-labels, and is the next teacher."""

from __future__ import annotations

import copy
import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from understudy.core.budget import Budget, Cost
from understudy.core.config import Knob, to_table
from understudy.core.errors import ConfigError
from understudy.core.files import write_json
from understudy.core.seeding import generator
from understudy.core.types import PseudoLabels, Step
from understudy.data.training import TrainingData
from understudy.engine.execution import pick_device
from understudy.engine.finalize import Trained
from understudy.engine.fit import fit
from understudy.engine.observers import Observer, Round, StepReport
from understudy.engine.predict import predict
from understudy.engine.robustness import robustness
from understudy.engine.rundir import RunFolder
from understudy.engine.stage import Settings, Stage
from understudy.models.nets import Execution
from understudy.recipes.base import Purse, Recipe
from understudy.recipes.parts.pool_labels import BALANCES, PoolLabels, predict_pool, times_kept, with_pseudo_labels
from understudy.recipes.parts.round_decisions import (
    Classifier,
    RoundPlan,
    plan_rounds,
    why_converged,
    why_fewer,
    why_not_go_on,
    why_starved,
    why_unusable,
)
from understudy.recipes.parts.teacher_gate import Opinion, crossfit_opinion, validation_opinion

_SAMPLED = 512  # rows of the pool by which labeling is timed: a few batches, below 1 % of a pool where it matters


@dataclass(frozen=True, eq=False)
class Student:
    """What is trained on pseudo-labels.

    Args:
        network: Its initial weights.
        noisy: The same with whatever disturbs it in training alone.
        network_name: What it is called.
        note: A sentence worth saying of it, or an empty text.
    """

    network: nn.Module
    noisy: nn.Module
    network_name: str
    settings: Settings
    note: str = ""


@dataclass(frozen=True, kw_only=True)
class Rounds(Recipe):
    """What self-training and Noisy Student share.

    The teacher gets `teacher_share` of the budget. Labeling the pool is paid from the same budget: its cost is measured
    and reserved before each round, and rounds are dropped until labeling takes at most half of what is left. If one
    labeling is still more than that, one round is run with a random part of the pool. Of what remains, round i gets a
    part in proportion to i, since the last student is delivered and the others only label.
    Without validation images, a tenth of what the teacher left goes into asking whether it is better than chance.
    The loss of a student is (L_true + lambda_u L_pseudo) / (1 + lambda_u).

    All runs are supervised: of the stage's method they take the criterion and the decay of the averaged weights. A
    student starts from initial weights, never from its teacher's, so that it cannot simply keep what the teacher
    believes. Where images may choose, rounds stop when those images see harm or no gain, and the best round is
    returned, which may be the first teacher; else rounds stop when labels no longer change, and the last is returned,
    unless it had fewer than half of the first teacher's steps.
    """

    num_rounds: Annotated[int, Knob("students trained, one after another, at most", 1)] = 2
    teacher_share: Annotated[float, Knob("share of the budget for the first teacher", 0.01, 0.99)] = 0.2
    threshold: Annotated[float, Knob("confidence from which on a label is kept", 0, 1)] = 0.8
    top_share: Annotated[float, Knob("share of each predicted class kept at most, the most confident", 0.001, 1)] = 1.0
    balance: Annotated[
        str, Knob("cap classes at their quota; duplicate also repeats rows of the smaller ones", choices=BALANCES)
    ] = "none"
    quota: Annotated[
        float, Knob("most rows of a class, as a multiple of its share of the labels times all rows kept", 0.01)
    ] = 1.0
    labels: Annotated[str, Knob("class, or probabilities of all classes, as target", choices=("hard", "soft"))] = "hard"
    lambda_u: Annotated[float, Knob("weight of the pseudo-labels' loss; that of the true labels is 1", 0)] = 1.0
    labeled_share: Annotated[float, Knob("share of truly labeled rows in a batch, which repeats them", 0, 0.99)] = 0.25
    gate: Annotated[float, Knob("largest p-value at which a teacher counts as better than chance", 0, 1)] = 0.05
    least_changed: Annotated[float, Knob("share of the pool's labels that must change for another round", 0, 1)] = 0.01
    least_gain: Annotated[float, Knob("gain on validation images that must be passed for another round", 0, 1)] = 0.0
    corrupted: Annotated[
        int, Knob("validation images on whose corruptions first teacher and result are compared at the end", 0)
    ] = 0

    def outline(self, method: str) -> str:  # noqa: ARG002
        """The recipe with the teacher's share of the budget and the number of rounds."""
        rounds = "1 round" if self.num_rounds == 1 else f"up to {self.num_rounds} rounds"
        return f"{self.name} ({100 * self.teacher_share:.0f} % of it the first teacher, the rest {rounds})"

    def student(self, stage: Stage) -> Student:
        """The student of every round."""
        raise NotImplementedError

    def check(self, stage: Stage) -> None:
        """Nothing, when there is a pool to label and a student to teach.

        Raises:
            ConfigError: There is no unlabeled row.
        """
        if not len(stage.data.unlabeled):
            raise ConfigError(
                f"recipe {self.name} labels unlabeled images and there are none; give some, or take the recipe plain"
            )
        self.student(stage)  # a name that is none is found out before hours went into the teacher

    def train(
        self,
        stage: Stage,
        folder: Path | None = None,
        *,
        observe: Sequence[Observer] = (),
        execution: Execution | None = None,
    ) -> Trained:
        """The best round, or the last where no images may choose.

        Raises:
            ConfigError: There is no unlabeled row.
        """
        self.check(stage)
        if folder is None:
            return _Run(self, stage, None, observe, execution).train()
        run_folder = RunFolder(folder)
        with run_folder.claim():
            run_folder.recognize({"recipe": repr(sorted(to_table(self).items())), **stage.identity()})
            return _Run(self, stage, folder, observe, execution).train()


class _Run:
    """One call of the recipe: what is spent, which classifiers there are, and the lines about them."""

    def __init__(
        self,
        recipe: Rounds,
        stage: Stage,
        folder: Path | None,
        observe: Sequence[Observer],
        execution: Execution | None,
    ) -> None:
        method = stage.settings.method
        plain = method.baseline()
        self.recipe = recipe
        self.stage = dataclasses.replace(stage, settings=dataclasses.replace(stage.settings, method=plain))
        self.folder, self.observe, self.execution = folder, observe, execution
        self.device = pick_device(stage.settings.device)
        self.purse = Purse(stage.budget, folder)
        self.lines: list[dict[str, Any]] = []

    def train(self) -> Trained:
        """Teacher, gate, rounds."""
        teacher = before = best = last = self.first_teacher()
        opinion = self.opinion(teacher)
        if opinion.is_useless(self.recipe.gate):
            note = f"{opinion.text}; no image was labeled, and gate=1 would trust it"
            self.tell(teacher, note=note)
            return self.conclude(teacher, teacher, note)
        student = self.recipe.student(self.stage)
        number, rounds, stopped = 1, self.recipe.num_rounds, ""
        while not stopped and number <= rounds:
            plan, fewer = self.planned(last, number, rounds)
            rounds = number + plan.num_rounds - 1
            if number == 1:
                self.tell(teacher, note="; ".join(filter(None, [opinion.text, fewer])))
            labels = self.label(last, number, plan.pool_share)
            stopped = why_unusable(labels, last, self.stage.data.classes, self.recipe.threshold)
            if stopped and last.accuracy is None:
                best = before  # a student that cannot teach is no better than who taught it
            stopped = stopped or why_converged(labels, last, self.recipe.least_changed)
            if stopped:
                break
            budget = self.grant(number, rounds, plan)
            note = student.note if number == 1 else fewer
            before, last = last, self.round(student, labels, last, number, budget, note)
            stopped = why_not_go_on(best, last, self.recipe.least_gain) if number < rounds else ""
            if (
                (last.accuracy >= (best.accuracy or 0.0))
                if last.accuracy is not None
                else not why_starved(last, teacher)
            ):
                best = last
            number += 1
        if not stopped and best is not last and last.accuracy is None:
            stopped = why_starved(last, teacher)
        return self.conclude(teacher, best, stopped)

    # The runs.

    def first_teacher(self) -> Classifier:
        """The classifier that true labels alone give."""
        name = "teacher"
        stage = dataclasses.replace(self.stage, name=name, budget=self.purse.grant(name, self.recipe.teacher_share))
        trained = self.fit(stage, self.execution)
        self.execution = dataclasses.replace(trained.execution, chunks=1)
        return self.classifier(0, trained)

    def grant(self, number: int, rounds: int, plan: RoundPlan) -> Budget:
        """What the student of this round may spend; the cost of labeling for the later rounds is reserved."""
        share = number / sum(range(number, rounds + 1))
        return self.purse.grant(f"round {number}", share, reserve=(rounds - number) * plan.labeling)

    def round(
        self, student: Student, labels: PoolLabels, teacher: Classifier, number: int, budget: Budget, note: str
    ) -> Classifier:
        """A student of these labels, and the line about it."""
        recipe, name = self.recipe, f"round {number}"
        data = with_pseudo_labels(self.stage.data, labels, lambda_u=recipe.lambda_u, labeled_share=recipe.labeled_share)
        stage = Stage(
            name=name,
            settings=student.settings,
            data=data,
            network=student.noisy,
            network_name=student.network_name,
            budget=budget,
        )
        same = type(student.network) is type(self.stage.network)
        trained = self.fit(stage, self.execution if same else None)
        quiet = copy.deepcopy(student.network)
        quiet.load_state_dict(trained.model.state_dict())
        trained = dataclasses.replace(trained, model=quiet.to(self.device).eval(), network_name=student.network_name)
        found = self.classifier(number, trained, labels)
        before = teacher.labels
        changed = None if before is None or len(before.ids) != len(labels.ids) else labels.changed_since(before)
        self.tell(found, changed=changed, note=note)
        return found

    def fit(self, stage: Stage, execution: Execution | None) -> Trained:
        """A run of the recipe in a folder of its own, paid for."""
        folder = None if self.folder is None else self.folder / stage.name.replace(" ", "-")
        return self.purse.pay(fit(stage, folder, observe=self.observe, execution=execution))

    def classifier(self, number: int, trained: Trained, labels: PoolLabels | None = None) -> Classifier:
        """The run with what validation images say of it."""
        data = self.stage.data
        found = predict(trained.model, data, data.validation, device=self.device, execution=trained.execution)
        return Classifier(number, trained, found.argmax(-1) == data.validation_targets, labels)

    # What the pool is given.

    def planned(self, teacher: Classifier, number: int, rounds: int) -> tuple[RoundPlan, str]:
        """How many rounds the budget pays for from this one on, how much of the pool is labeled, and why not all."""
        wanted = rounds - number + 1

        def decide() -> dict[str, Any]:
            labeling = self.cost_of_labeling(teacher).share_of(self.stage.budget)
            left = self.purse.left
            plan = plan_rounds(wanted, left, labeling)
            return {"plan": dataclasses.asdict(plan), "why": why_fewer(plan, wanted, number, left, labeling)}

        found = self.purse.recorded(f"plan from round {number}", decide)
        return RoundPlan(**found["plan"]), found["why"]

    def cost_of_labeling(self, teacher: Classifier) -> Cost:
        """What it takes this teacher to label the whole pool, by the time it needs for a sample of it."""
        data = self.stage.data
        if not self.stage.budget.is_timed:
            return Cost()
        sample = data.unlabeled[:_SAMPLED]
        for _ in range(2):  # the first pass warms up
            begun = Cost.now()
            predict(teacher.trained.model, data, sample, device=self.device, execution=teacher.trained.execution)
        took = Cost.now() - begun
        times = len(data.unlabeled) / len(sample)
        return Cost(took.wall_s * times, took.cpu_s * times)

    def label(self, teacher: Classifier, number: int, pool_share: float) -> PoolLabels:
        """The teacher's labels for this round; once they are on disk, they are what is trained on."""
        path = None if self.folder is None else self.folder / f"round-{number}" / "pseudo_labels.npz"
        if (saved := PoolLabels.load(path)) is not None:
            return saved
        recipe, data = self.recipe, self.stage.data
        if pool_share < 1:
            count = max(1, int(pool_share * len(data.unlabeled)))
            part = generator("part of the pool", self.stage.settings.seed).permutation(len(data.unlabeled))[:count]
            data = dataclasses.replace(data, unlabeled=data.unlabeled[np.sort(part)])
        found = predict_pool(
            teacher.trained.model,
            data,
            soft=recipe.labels == "soft",
            device=self.device,
            execution=teacher.trained.execution,
        )
        kept = times_kept(
            found.label,
            found.confidence,
            _class_shares(data),
            threshold=recipe.threshold,
            top_share=recipe.top_share,
            balance=recipe.balance,
            quota=recipe.quota,
        )
        found = dataclasses.replace(found, weight=kept)
        if path is not None:
            found.save(path)
        return found

    # Decisions.

    def opinion(self, teacher: Classifier) -> Opinion:
        """Whether the teacher is better than chance."""
        data, level = self.stage.data, self.recipe.gate
        if level >= 1:
            return Opinion(0.0, "")
        if len(data.validation):
            found = validation_opinion(teacher.right, data.validation_targets, len(data.classes), level)
            if found is not None:
                return found
        return crossfit_opinion(self.stage, self.purse, self.fit_fold, self.device, level)

    def fit_fold(self, stage: Stage) -> Trained:
        """A run on half of the labels, which judges and is thrown away."""
        return self.fit(stage, self.execution)

    # What is told.

    def tell(self, one: Classifier, *, changed: float | None = None, note: str = "") -> None:
        """The line about a finished run, kept and given to whoever watches."""
        data, labels = self.stage.data, one.labels
        line: dict[str, Any] = {
            "round": one.number,
            "name": f"round {one.number}" if one.number else "teacher",
            "validation_accuracy": one.accuracy,
            "learned_from_pool": labels is not None,
        }
        pseudo_labels = None
        if labels is not None:
            kept = labels.kept
            line |= {
                "coverage": float(kept.sum() / len(data.unlabeled)),
                "labels_changed": changed,
                "num_pseudo_labels": int(kept.sum()),
                "pseudo_labels_per_class": labels.counts(len(data.classes)),
                "mean_confidence": float(labels.confidence[kept].mean()),
            }
            position = len(data.labeled) + torch.arange(len(labels.ids))
            pseudo_labels = PseudoLabels(position, torch.from_numpy(labels.label), torch.from_numpy(kept).float())
        line["history"] = list(one.trained.history)
        line |= {"steps": one.trained.steps, "cpu_s": one.trained.cost.cpu_s, "wall_s": one.trained.cost.wall_s}
        if note:
            line["note"] = note
        self.lines.append(line)
        if self.folder is not None:
            write_json(self.folder / "rounds.json", self.lines)
        report = StepReport(
            line["name"],
            Step(max(0, one.trained.steps - 1), 1.0),
            (),
            1.0,
            2,
            self.purse.cost,
            self.stage.budget,
            None,
            round=Round(one.number, line, pseudo_labels),
        )
        for observer in self.observe:
            observer(report)

    def conclude(self, teacher: Classifier, best: Classifier, stopped: str) -> Trained:
        """The classifier that is returned, with the cost of all."""
        data, asked = self.stage.data, slice(self.recipe.corrupted)
        if len(data.validation[asked]):
            for one in {teacher.number: teacher, best.number: best}.values():
                found = robustness(
                    one.trained.model, data, data.validation[asked], data.validation_targets[asked], device=self.device
                )
                self.lines[one.number]["corrupted_accuracy"] = found.mean
        for line in self.lines:
            line["returned"] = line["round"] == best.number
        if best.accuracy is None and best.number:
            line = self.lines[best.number]
            which = "last" if line is self.lines[-1] else "last that can teach"
            notes = [line.get("note", ""), f"returned as the {which}, since no images may choose"]
            line["note"] = "; ".join(filter(None, notes))
        if self.folder is not None:
            write_json(self.folder / "rounds.json", self.lines)
        return dataclasses.replace(
            best.trained,
            steps=self.purse.spent_steps,
            cost=self.purse.cost,
            stopped=stopped,
            rounds=tuple(self.lines),
        )


def _class_shares(data: TrainingData) -> NDArray[np.float64]:
    """How common each class is among the true labels."""
    counts = data.class_counts.numpy(force=True).astype(np.float64)
    return counts / counts.sum()  # type: ignore[no-any-return]
