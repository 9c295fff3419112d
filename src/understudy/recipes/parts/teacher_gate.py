"""The gate: whether a teacher is better than chance, tested on images it was not trained on."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from understudy.core.seeding import generator
from understudy.engine.stage import Stage
from understudy.evaluation.chance import chance_accuracy, p_of_chance
from understudy.recipes.base import RecipeRun

_NUM_FOLDS = 2  # the fewest that test on every label; more folds would each leave less time to train
# Of what is left, for each fold: both together take a tenth, little beside the rounds a useless teacher would waste.
_FOLD_SHARE = 0.05


@dataclass(frozen=True)
class GateResult:
    """Whether a teacher is better than chance.

    Args:
        p_value: Of its answers under chance; None where there were too few to tell.
        text: The same in words.
    """

    p_value: float | None
    text: str

    def fails(self, level: float) -> bool:
        """Whether the teacher was tested and did not pass."""
        return self.p_value is not None and self.p_value > level


def validation_gate(
    right: NDArray[np.bool_], targets: NDArray[np.int64], num_classes: int, level: float
) -> GateResult | None:
    """The test of a teacher's answers on validation images; None if they are so few that no answers could pass."""
    return _gate_result(right, targets, num_classes, level, "the teacher is", f"{len(right):,} validation images")


def crossfit_gate(run: RecipeRun, level: float) -> GateResult:
    """Test two classifiers like the teacher, each trained on one half of the labels and tested on the other.

    They have half its labels and less time, so a teacher is better than they are if they pass. Images of a class that
    the other half lacks are left out.
    """
    data = run.stage.data
    targets = data.targets if data.targets.ndim == 1 else data.targets.argmax(-1)
    classes = targets.numpy(force=True)
    half = _halves(classes, run.stage.settings.seed)
    testable = np.array([bool((classes[half != half[row]] == classes[row]).any()) for row in range(len(classes))])
    num_tested = int(testable.sum())
    too_few = GateResult(None, "too few labels to tell whether the teacher is better than chance, so it was trusted")
    if p_of_chance(num_tested, num_tested, chance_accuracy(classes[testable], len(data.classes))) > level:
        return too_few
    right = np.zeros(len(classes), bool)
    for number in range(_NUM_FOLDS):
        train, test = np.flatnonzero(half != number), np.flatnonzero((half == number) & testable)
        trained = run.fit(_fold(run, f"gate {number + 1}", train), run.execution)
        right[test] = run.predict(trained, data.labeled[test]).argmax(-1) == classes[test]
    who = "classifiers like the teacher, each trained on half of the labels, are"
    what = f"the {num_tested:,} images labeled in the other half"
    return _gate_result(right[testable], classes[testable], len(data.classes), level, who, what) or too_few


def _fold(run: RecipeRun, name: str, train: NDArray[np.int64]) -> Stage:
    """The stage that trains on these labeled rows alone, without validation rows."""
    data = run.stage.data
    positions = torch.from_numpy(train)
    return dataclasses.replace(
        run.stage,
        name=name,
        data=dataclasses.replace(
            data,
            labeled=data.labeled[train],
            targets=data.targets[positions],
            weight=None if data.weight is None else data.weight[positions],
            validation=data.validation[:0],
            validation_targets=data.validation_targets[:0],
        ),
        budget=run.ledger.grant(name, _FOLD_SHARE),
    )


def _gate_result(
    right: NDArray[np.bool_], targets: NDArray[np.int64], num_classes: int, level: float, who: str, what: str
) -> GateResult | None:
    n, chance = len(right), chance_accuracy(targets, num_classes)
    if p_of_chance(n, n, chance) > level:
        return None
    p_value = p_of_chance(int(right.sum()), n, chance)
    text = f"{who} right on {100 * right.mean():.1f} % of {what}, and chance on {100 * chance:.1f} %"
    return GateResult(p_value, text if p_value <= level else f"{text}, which is not significant (p = {p_value:.2g})")


def _halves(classes: NDArray[np.int64], seed: int) -> NDArray[np.int64]:
    """0 or 1 for every row, each class shared equally."""
    half = np.zeros(len(classes), np.int64)
    order = generator("gate", seed).permutation(len(classes))
    for label in np.unique(classes):
        rows = order[classes[order] == label]
        # Adding the class gives its odd row to another half than the next class's, so that the halves are of one size.
        half[rows] = (np.arange(len(rows)) + label) % _NUM_FOLDS
    return half
