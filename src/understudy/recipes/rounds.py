"""Rounds: a teacher labels the pool, a fresh student learns from true and pseudo-labels, and is the next teacher."""

from __future__ import annotations

import copy
import dataclasses
from dataclasses import dataclass
from typing import Annotated, Any

import numpy as np
from numpy.typing import NDArray
from torch import nn

from understudy.core.budget import Budget, Cost
from understudy.core.config import Knob
from understudy.core.errors import ConfigError
from understudy.core.seeding import generator
from understudy.data.training_data import TrainingData
from understudy.engine.finalize import Trained
from understudy.engine.robustness import robustness
from understudy.engine.stage import Settings, Stage
from understudy.recipes.base import Recipe, RecipeRun
from understudy.recipes.parts.pool_labels import (
    BALANCES,
    PoolLabels,
    predict_pool,
    select_pseudo_labels,
    with_pseudo_labels,
)
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
from understudy.recipes.parts.teacher_gate import GateResult, crossfit_gate, validation_gate

TEACHER = "teacher"
# Labeling is timed on so many rows: a few batches, and below 1 % of a pool that is large enough for its cost to matter.
_NUM_TIMED_ROWS = 512


@dataclass(frozen=True, eq=False)
class Student:
    """What is trained on pseudo-labels.

    Args:
        network: Its initial weights.
        noisy: The same with the noise of training, such as dropout.
        note: A sentence for the record of the first round, or an empty text.
    """

    network: nn.Module
    noisy: nn.Module
    network_name: str
    settings: Settings
    note: str = ""


@dataclass(frozen=True, kw_only=True)
class Rounds(Recipe):
    """Teacher and students, round after round: what self-training and Noisy Student share.

    The teacher gets `teacher_share` of the budget. Labeling the pool is paid from the same budget: its cost is measured
    and reserved before each round, and rounds are dropped until labeling takes at most half of what is left. If one
    labeling is still more than that, one round is run with a random part of the pool. Of what remains, round i gets a
    part in proportion to i, since the last student is delivered and the others only label.
    Without validation images, a tenth of what the teacher left goes into asking whether it is better than chance.
    The loss of a student is (L_true + lambda_u L_pseudo) / (1 + lambda_u).

    All runs are supervised: of the stage's method they take the criterion and the decay of the averaged weights. A
    student starts from initial weights, never from its teacher's, so that it cannot simply keep what the teacher
    believes. With validation images, rounds stop when those show harm or no gain, and the best round is returned, which
    may be the first teacher; without, rounds stop when labels no longer change, and the last is returned, unless it had
    fewer than half of the first teacher's steps.
    """

    num_rounds: Annotated[int, Knob("maximum number of students, trained one after another", 1)] = 2
    teacher_share: Annotated[float, Knob("share of the budget for the first teacher", 0.01, 0.99)] = 0.2
    threshold: Annotated[float, Knob("minimum confidence of a pseudo-label", 0, 1)] = 0.8
    top_share: Annotated[
        float, Knob("maximum share of each predicted class to keep, most confident first", 0.001, 1)
    ] = 1.0
    balance: Annotated[
        str, Knob("cap limits classes to their quota; duplicate also repeats rows of rare classes", choices=BALANCES)
    ] = "none"
    quota: Annotated[float, Knob("maximum rows of a class, relative to its share among the labels", 0.01)] = 1.0
    labels: Annotated[str, Knob("hard (class) or soft (probabilities) targets", choices=("hard", "soft"))] = "hard"
    lambda_u: Annotated[float, Knob("weight of the pseudo-label loss; true labels have weight 1", 0)] = 1.0
    labeled_share: Annotated[
        float, Knob("share of labeled rows in a batch; they are repeated to reach it", 0, 0.99)
    ] = 0.25
    gate: Annotated[
        float, Knob("maximum p-value of the test that the teacher beats chance; 1 accepts any teacher", 0, 1)
    ] = 0.05
    min_changed: Annotated[float, Knob("minimum share of pseudo-labels that must change to continue", 0, 1)] = 0.01
    min_gain: Annotated[float, Knob("validation gain that must be exceeded to continue", 0, 1)] = 0.0
    corrupted: Annotated[
        int, Knob("number of validation images, corrupted, on which the first teacher and the result are compared", 0)
    ] = 0

    def outline(self, method: str) -> str:  # noqa: ARG002
        """The recipe with the teacher's share of the budget and the number of rounds."""
        rounds = "1 round" if self.num_rounds == 1 else f"up to {self.num_rounds} rounds"
        return f"{self.name} ({100 * self.teacher_share:.0f} % of it the first teacher, the rest {rounds})"

    def student(self, stage: Stage) -> Student:
        """The student of every round."""
        raise NotImplementedError

    def check(self, stage: Stage) -> None:
        """Validate that there is a pool to label, and that the student can be built.

        Raises:
            ConfigError: There is no unlabeled row.
        """
        if not len(stage.data.unlabeled):
            raise ConfigError(
                f"recipe {self.name} labels unlabeled images and there are none; give some, or take the recipe plain"
            )
        self.student(stage)  # fail on an unknown network before hours are spent on the teacher

    def train_stages(self, run: RecipeRun) -> Trained:
        """Train a teacher, then label the pool and train a student on the labels, who teaches the next round."""
        run.stage = _supervised(run.stage)
        first = self.train_teacher(run)
        gate = self.check_teacher(run, first)
        if gate.fails(self.gate):
            note = f"{gate.text}; no image was labeled, and gate=1 would trust it"
            self.report(run, first, note=note)
            return self.conclude(run, first, first, note)
        student = self.student(run.stage)
        previous = teacher = best = first
        number, last_number, stopped = 1, self.num_rounds, ""
        while not stopped and number <= last_number:
            plan, shortage = self.plan(run, teacher, number, last_number)
            last_number = number + plan.num_rounds - 1
            if number == 1:
                self.report(run, first, note="; ".join(filter(None, [gate.text, shortage])))
            labels = self.label_pool(run, teacher, number, plan.pool_share)
            stopped = why_unusable(labels, teacher, run.stage.data.classes, self.threshold)
            if stopped and teacher.accuracy is None:
                best = previous  # a student that cannot teach is taken for worse than its teacher, which could
            stopped = stopped or why_converged(labels, teacher, self.min_changed)
            if stopped:
                break
            budget = self.grant(run, number, last_number, plan)
            trained = self.train_student(run, student, labels, number, budget)
            self.report(run, trained, teacher=teacher, note=student.note if number == 1 else shortage)
            stopped = why_not_go_on(best, trained, self.min_gain) if number < last_number else ""
            if is_better(trained, best, first):
                best = trained
            previous, teacher = teacher, trained
            number += 1
        if not stopped and best is not teacher and teacher.accuracy is None:
            stopped = why_starved(teacher, first)
        return self.conclude(run, first, best, stopped)

    # The runs.

    def train_teacher(self, run: RecipeRun) -> Classifier:
        """Train the first teacher on the true labels alone; later runs are executed as it was."""
        stage = dataclasses.replace(run.stage, name=TEACHER, budget=run.ledger.grant(TEACHER, self.teacher_share))
        trained = run.fit(stage, run.execution)
        run.execution = dataclasses.replace(trained.execution, chunks=1)
        return self.classifier(run, 0, trained)

    def grant(self, run: RecipeRun, number: int, last_number: int, plan: RoundPlan) -> Budget:
        """Grant this round's student its budget; the cost of labeling for the later rounds is reserved."""
        share = number / sum(range(number, last_number + 1))
        return run.ledger.grant(_name(number), share, reserve=(last_number - number) * plan.labeling)

    def train_student(
        self, run: RecipeRun, student: Student, labels: PoolLabels, number: int, budget: Budget
    ) -> Classifier:
        """Train a student of these labels, from its initial weights and with its noise; return it without the noise."""
        data = with_pseudo_labels(run.stage.data, labels, lambda_u=self.lambda_u, labeled_share=self.labeled_share)
        stage = Stage(
            name=_name(number),
            settings=student.settings,
            data=data,
            network=student.noisy,
            network_name=student.network_name,
            budget=budget,
        )
        is_same_network = type(student.network) is type(run.stage.network)
        trained = run.fit(stage, run.execution if is_same_network else None)
        quiet = copy.deepcopy(student.network)
        quiet.load_state_dict(trained.model.state_dict())
        trained = dataclasses.replace(trained, model=quiet.to(run.device).eval(), network_name=student.network_name)
        return self.classifier(run, number, trained, labels)

    def classifier(
        self, run: RecipeRun, number: int, trained: Trained, labels: PoolLabels | None = None
    ) -> Classifier:  # fmt: skip
        """The run with its answers on the validation images."""
        data = run.stage.data
        probabilities = run.predict(trained, data.validation)
        return Classifier(number, trained, probabilities.argmax(-1) == data.validation_targets, labels)

    # The labels of the pool.

    def plan(self, run: RecipeRun, teacher: Classifier, number: int, last_number: int) -> tuple[RoundPlan, str]:
        """How many rounds the budget pays for from this one on, how much of the pool is labeled, and why not all."""
        wanted = last_number - number + 1

        def decide() -> dict[str, Any]:
            labeling = labeling_cost(run, teacher).share_of(run.stage.budget)
            left = run.ledger.left
            plan = plan_rounds(wanted, left, labeling)
            return {"plan": dataclasses.asdict(plan), "why": why_fewer(plan, wanted, number, left, labeling)}

        decision = run.ledger.recorded(f"plan from round {number}", decide)
        return RoundPlan(**decision["plan"]), decision["why"]

    def label_pool(self, run: RecipeRun, teacher: Classifier, number: int, pool_share: float) -> PoolLabels:
        """Label the pool for this round; labels that are on disk already are the ones that are trained on."""
        folder = run.subfolder(_name(number))
        path = None if folder is None else folder / "pseudo_labels.npz"
        if (saved := PoolLabels.load(path)) is not None:
            return saved
        data, trained = run.stage.data, teacher.trained
        if pool_share < 1:
            count = max(1, int(pool_share * len(data.unlabeled)))
            part = generator("part of the pool", run.stage.settings.seed).permutation(len(data.unlabeled))[:count]
            data = dataclasses.replace(data, unlabeled=data.unlabeled[np.sort(part)])
        labels = predict_pool(
            trained.model, data, soft=self.labels == "soft", device=run.device, execution=trained.execution
        )  # fmt: skip
        repeats = select_pseudo_labels(
            labels.label,
            labels.confidence,
            _class_shares(data),
            threshold=self.threshold,
            top_share=self.top_share,
            balance=self.balance,
            quota=self.quota,
        )
        labels = dataclasses.replace(labels, repeats=repeats)
        if path is not None:
            labels.save(path)
        return labels

    def check_teacher(self, run: RecipeRun, teacher: Classifier) -> GateResult:
        """Test whether the teacher is better than chance, on validation images if there are enough."""
        data = run.stage.data
        if self.gate >= 1:
            return GateResult(0.0, "")
        if len(data.validation):
            result = validation_gate(teacher.right, data.validation_targets, len(data.classes), self.gate)
            if result is not None:
                return result
        return crossfit_gate(run, self.gate)

    # The records.

    def report(
        self, run: RecipeRun, classifier: Classifier, *, teacher: Classifier | None = None, note: str = ""
    ) -> None:
        """Report a finished run.

        Args:
            teacher: Who labeled the pool for it.
        """
        labels, trained = classifier.labels, classifier.trained
        figures: dict[str, Any] = {
            "validation_accuracy": classifier.accuracy,
            "learned_from_pool": labels is not None,
        }
        if labels is not None:
            before = None if teacher is None else teacher.labels
            is_comparable = before is not None and len(before.ids) == len(labels.ids)
            figures |= {
                "coverage": float(labels.kept.sum() / len(run.stage.data.unlabeled)),
                "labels_changed": labels.changed_since(before) if before is not None and is_comparable else None,
                "num_pseudo_labels": int(labels.kept.sum()),
                "pseudo_labels_per_class": labels.counts(len(run.stage.data.classes)),
                "mean_confidence": float(labels.confidence[labels.kept].mean()),
            }
        figures["history"] = list(trained.history)
        record = run.record(_name(classifier.number), trained.steps, trained.cost, **figures)
        if note:
            record["note"] = note
        run.report_round(record, labels)

    def conclude(self, run: RecipeRun, first: Classifier, best: Classifier, stopped: str) -> Trained:
        """Return the best classifier with the cost of all, after its comparison with the first on corrupted images."""
        data, corrupted = run.stage.data, slice(self.corrupted)
        if len(data.validation[corrupted]):
            rows, targets = data.validation[corrupted], data.validation_targets[corrupted]
            for classifier in {first.number: first, best.number: best}.values():
                figures = robustness(classifier.trained.model, data, rows, targets, device=run.device)
                run.records[classifier.number]["corrupted_accuracy"] = figures.mean
        if best.accuracy is None and best.number:
            record = run.records[best.number]
            which = "last" if record is run.records[-1] else "last that can teach"
            notes = [record.get("note", ""), f"returned as the {which}, since there are no validation images"]
            record["note"] = "; ".join(filter(None, notes))
        return run.conclude(best.trained, best.number, stopped=stopped)


def is_better(student: Classifier, best: Classifier, first: Classifier) -> bool:
    """Whether a student takes the place of the best: by validation accuracy, else unless its training was cut short."""
    if student.accuracy is None:
        return not why_starved(student, first)
    return student.accuracy >= (best.accuracy or 0.0)


def labeling_cost(run: RecipeRun, teacher: Classifier) -> Cost:
    """What it takes this teacher to label the whole pool, measured on a sample; nothing if the budget is no time."""
    if not run.stage.budget.is_timed:
        return Cost()
    pool = run.stage.data.unlabeled
    sample = pool[:_NUM_TIMED_ROWS]
    for _ in range(2):  # the first pass warms up
        begun = Cost.now()
        run.predict(teacher.trained, sample)
    took = Cost.now() - begun
    times = len(pool) / len(sample)
    return Cost(took.wall_s * times, took.cpu_s * times)


def _supervised(stage: Stage) -> Stage:
    """The stage with the baseline of its method: labels, true or not, drive every run of the recipe."""
    settings = dataclasses.replace(stage.settings, method=stage.settings.method.baseline())
    return dataclasses.replace(stage, settings=settings)


def _name(number: int) -> str:
    return f"round {number}" if number else TEACHER


def _class_shares(data: TrainingData) -> NDArray[np.float64]:
    """How common each class is among the true labels."""
    counts = data.class_counts.numpy(force=True).astype(np.float64)
    return counts / counts.sum()  # type: ignore[no-any-return]
