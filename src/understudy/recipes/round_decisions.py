"""When rounds should stop: each reason as a sentence, which is empty where there is none."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from understudy.engine.fit import Trained
from understudy.evaluation.paired import mcnemar
from understudy.recipes.pool_labels import PoolLabels, below_text

_LEAST_ROUNDS = 2
_SURE_OF_HARM = 0.05


@dataclass(frozen=True, eq=False)
class Classifier:
    """The run of a round.

    Args:
        number: Of the round; 0 is the first teacher.
        right: Which of the images that may choose it gets right.
        labels: The pseudo-labels it was trained on.
    """

    number: int
    trained: Trained
    right: NDArray[np.bool_]
    labels: PoolLabels | None = None

    @property
    def accuracy(self) -> float | None:
        """On the images that may choose; None without any."""
        return float(self.right.mean()) if len(self.right) else None


def why_unusable(labels: PoolLabels, teacher: Classifier, classes: Sequence[str], threshold: float) -> str:
    """Why nobody can learn from the labels that this teacher gave."""
    count = len(labels.ids)
    who = "the first teacher" if teacher.number == 0 else f"the student of round {teacher.number}"
    if len(named := np.unique(labels.label)) == 1:
        return f"{who} takes all {count:,} unlabeled images for {classes[named[0]]!r}, which teaches nothing"
    if not labels.kept.any():
        most = below_text(float(labels.confidence.max()), threshold)
        return (
            f"{who} is confident of none of the {count:,} unlabeled images: the highest confidence is {most} "
            f"and recipe.threshold is {threshold:g}; lower it"
        )
    return ""


def why_converged(labels: PoolLabels, teacher: Classifier, least_changed: float) -> str:
    """Why a student of the labels that this teacher gave would learn what the teacher did."""
    if teacher.labels is None or teacher.number < _LEAST_ROUNDS:
        return ""
    changed = labels.changed_since(teacher.labels)
    if changed >= least_changed:
        return ""
    return f"converged: {100 * changed:.2f} % of the pseudo-labels changed after round {teacher.number}"


def why_not_go_on(best: Classifier, last: Classifier, least_gain: float) -> str:
    """What images that may choose say against another round after the last, `best` being the best before it."""
    if best.accuracy is None or last.accuracy is None:
        return ""
    figures = f"{100 * best.accuracy:.1f} to {100 * last.accuracy:.1f} % of {len(last.right):,} validation images"
    worse, better = int((best.right & ~last.right).sum()), int((last.right & ~best.right).sum())
    if worse > better and mcnemar(better, worse) < _SURE_OF_HARM:
        return f"round {last.number} did harm: accuracy fell from {figures}"
    if last.number >= _LEAST_ROUNDS and last.accuracy - best.accuracy <= least_gain:
        return f"diminishing returns: round {last.number} took accuracy from {figures}"
    return ""
