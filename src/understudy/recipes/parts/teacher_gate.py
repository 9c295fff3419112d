"""May this teacher teach? Asked of images it has not learned from, because it knows those it has by heart."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from understudy.core.seeding import generator
from understudy.engine.finalize import Trained
from understudy.engine.predict import predict
from understudy.engine.stage import Stage
from understudy.evaluation.chance import chance_accuracy, p_of_chance
from understudy.recipes.base import Purse

_HALVES = 2
_SHARE = 0.05


@dataclass(frozen=True)
class Opinion:
    """What is known of a teacher.

    Args:
        p_value: Of its answers under chance; None when nothing could tell.
        text: The same in words.
    """

    p_value: float | None
    text: str

    def is_useless(self, level: float) -> bool:
        """Whether it was asked and did not pass."""
        return self.p_value is not None and self.p_value > level


def validation_opinion(
    right: NDArray[np.bool_], targets: NDArray[np.int64], num_classes: int, level: float
) -> Opinion | None:
    """What validation images say of a teacher's answers; None if they are so few that no answers could satisfy."""
    return _opinion(right, targets, num_classes, level, "the teacher is", f"{len(right):,} validation images")


def crossfit_opinion(
    stage: Stage, purse: Purse, fit_fold: Callable[[Stage], Trained], device: torch.device, level: float
) -> Opinion:
    """What labeled images say of two classifiers like the teacher, each trained on the other half of them.

    They have half its labels and less time, so a teacher that passes is better than they are. Images of a class that
    the other half lacks are not asked.
    """
    data = stage.data
    targets = data.targets if data.targets.ndim == 1 else data.targets.argmax(-1)
    classes = targets.numpy(force=True)
    half = _halves(classes, stage.settings.seed)
    asked = np.array([bool((classes[half != half[row]] == classes[row]).any()) for row in range(len(classes))])
    few = "too few labels to tell whether the teacher is better than chance, so it was trusted"
    if p_of_chance(int(asked.sum()), int(asked.sum()), chance_accuracy(classes[asked], len(data.classes))) > level:
        return Opinion(None, few)
    right = np.zeros(len(classes), bool)
    for number in range(_HALVES):
        mine, others = np.flatnonzero(half != number), np.flatnonzero((half == number) & asked)
        weight = None if data.weight is None else data.weight[torch.from_numpy(mine)]
        name = f"gate {number + 1}"
        fold = dataclasses.replace(
            stage,
            name=name,
            data=dataclasses.replace(
                data,
                labeled=data.labeled[mine],
                targets=data.targets[torch.from_numpy(mine)],
                weight=weight,
                validation=data.validation[:0],
                validation_targets=data.validation_targets[:0],
            ),
            budget=purse.grant(name, _SHARE),
        )
        trained = fit_fold(fold)
        found = predict(trained.model, data, data.labeled[others], device=device, execution=trained.execution)
        right[others] = found.argmax(-1) == classes[others]
    who = "classifiers like the teacher, each trained on half of the labels, are"
    what = f"the {int(asked.sum()):,} images labeled in the other half"
    return _opinion(right[asked], classes[asked], len(data.classes), level, who, what) or Opinion(None, few)


def _opinion(
    right: NDArray[np.bool_], targets: NDArray[np.int64], num_classes: int, level: float, who: str, what: str
) -> Opinion | None:
    n, chance = len(right), chance_accuracy(targets, num_classes)
    if p_of_chance(n, n, chance) > level:
        return None
    p_value = p_of_chance(int(right.sum()), n, chance)
    figures = f"{who} right on {100 * right.mean():.1f} % of {what}, and chance on {100 * chance:.1f} %"
    return Opinion(
        p_value, figures if p_value <= level else f"{figures}, which is not surely better (p = {p_value:.2g})"
    )


def _halves(classes: NDArray[np.int64], seed: int) -> NDArray[np.int64]:
    """0 or 1 for every row, each class shared equally."""
    half = np.zeros(len(classes), np.int64)
    order = generator("gate", seed).permutation(len(classes))
    for label in np.unique(classes):
        rows = order[classes[order] == label]
        half[rows] = (np.arange(len(rows)) + label) % _HALVES
    return half
