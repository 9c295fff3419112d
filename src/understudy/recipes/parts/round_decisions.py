"""When rounds should stop: each reason as a sentence, which is empty where there is none."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from understudy.engine.finalize import Trained
from understudy.evaluation.paired import mcnemar
from understudy.recipes.parts.pool_labels import PoolLabels, below_text

# The first student learns from the weakest teacher; what the second gains tells whether more rounds pay.
_MIN_ROUNDS = 2
# The usual level of a test; with it, one in twenty harmless rounds ends the recipe.
_HARM_LEVEL = 0.05
# Of what is left, so that every student gets at least half of the training that it would get without labeling.
MAX_LABELING_SHARE = 0.5
# A student gets more time than the first teacher, so with half of the teacher's steps its training was cut short.
_MIN_STEPS_OF_TEACHER = 0.5


@dataclass(frozen=True, eq=False)
class Classifier:
    """The classifier of a round.

    Args:
        number: Of the round; 0 is the first teacher.
        right: Which validation images it classifies correctly.
        labels: The pseudo-labels it was trained on.
    """

    number: int
    trained: Trained
    right: NDArray[np.bool_]
    labels: PoolLabels | None = None

    @property
    def accuracy(self) -> float | None:
        """On the validation images; None without any."""
        return float(self.right.mean()) if len(self.right) else None


@dataclass(frozen=True)
class RoundPlan:
    """What the rest of the budget can pay.

    Args:
        num_rounds: Rounds that are still to be run, at least one.
        pool_share: Share of the pool that the next round labels; below 1 only where labeling all of it costs too much.
        labeling: Share of the whole budget that labeling costs in each of these rounds.
    """

    num_rounds: int
    pool_share: float
    labeling: float


def plan_rounds(wanted: int, left: float, labeling: float) -> RoundPlan:
    """As many rounds as can be labeled with half of what is left; if not even one can, one with a part of the pool.

    Args:
        wanted: Rounds still to be run.
        left: Share of the budget that is left.
        labeling: Share of the budget that labeling the whole pool costs.
    """
    room = MAX_LABELING_SHARE * left
    if labeling <= 0 or wanted * labeling <= room:
        return RoundPlan(wanted, 1.0, max(0.0, labeling))
    if labeling <= room:
        return RoundPlan(max(1, int(room / labeling)), 1.0, labeling)
    return RoundPlan(1, room / labeling, room)


def why_fewer(plan: RoundPlan, wanted: int, first: int, left: float, labeling: float) -> str:
    """Why not all rounds are run, or not the whole pool is labeled.

    Args:
        first: Number of the next round.
    """
    if plan.num_rounds == wanted and plan.pool_share >= 1:
        return ""
    cost = f"labeling the pool takes {100 * labeling:.0f} % of the budget and {100 * left:.0f} % is left"
    last = first + plan.num_rounds - 1
    parts = []
    if plan.num_rounds < wanted:
        parts.append(f"{last} of {first + wanted - 1} rounds are run")
    if plan.pool_share < 1:
        parts.append(f"round {first} labels {100 * plan.pool_share:.0f} % of the pool, a random part")
    return f"{' and '.join(parts)}, since {cost}; a longer budget pays for more"


def why_starved(student: Classifier, teacher: Classifier) -> str:
    """Why a student's training was too short for the student to be returned."""
    steps, of_teacher = student.trained.steps, teacher.trained.steps
    if steps >= _MIN_STEPS_OF_TEACHER * of_teacher:
        return ""
    return f"the training of round {student.number} was cut to {steps:,} steps, the first teacher's had {of_teacher:,}"


def why_unusable(labels: PoolLabels, teacher: Classifier, classes: Sequence[str], threshold: float) -> str:
    """Why no student can learn from this teacher's labels."""
    count = len(labels.ids)
    who = "the first teacher" if teacher.number == 0 else f"the student of round {teacher.number}"
    if len(predicted := np.unique(labels.label)) == 1:
        return f"{who} labels all {count:,} unlabeled images {classes[predicted[0]]!r}, which teaches nothing"
    if not labels.kept.any():
        most = below_text(float(labels.confidence.max()), threshold)
        return (
            f"{who} is confident of none of the {count:,} unlabeled images: the highest confidence is {most} "
            f"and recipe.threshold is {threshold:g}; lower it"
        )
    return ""


def why_converged(labels: PoolLabels, teacher: Classifier, min_changed: float) -> str:
    """Why a student of the labels that this teacher gave would learn what the teacher did."""
    if teacher.labels is None or teacher.number < _MIN_ROUNDS or len(teacher.labels.ids) != len(labels.ids):
        return ""  # too early, or labels of another part of the pool
    changed = labels.changed_since(teacher.labels)
    if changed >= min_changed:
        return ""
    return f"converged: {100 * changed:.2f} % of the pseudo-labels changed after round {teacher.number}"


def why_not_go_on(best: Classifier, last: Classifier, min_gain: float) -> str:
    """Why the validation images speak against another round after `last`; `best` is the best round before it."""
    if best.accuracy is None or last.accuracy is None:
        return ""
    figures = f"{100 * best.accuracy:.1f} to {100 * last.accuracy:.1f} % of {len(last.right):,} validation images"
    worse, better = int((best.right & ~last.right).sum()), int((last.right & ~best.right).sum())
    if worse > better and mcnemar(better, worse) < _HARM_LEVEL:
        return f"round {last.number} did harm: accuracy fell from {figures}"
    if last.number >= _MIN_ROUNDS and last.accuracy - best.accuracy <= min_gain:
        return f"diminishing returns: round {last.number} took accuracy from {figures}"
    return ""
