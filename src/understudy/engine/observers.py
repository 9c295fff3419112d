"""Those who watch a run: they get an immutable report per step and return nothing."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from understudy.core.budget import Budget, Cost
from understudy.core.types import Loss, PseudoLabels, Step


@dataclass(frozen=True)
class Round:
    """What a recipe of several runs has to tell when one of them has ended.

    Args:
        number: 0 is the first teacher.
        line: Its figures, as in `Trained.rounds`.
        pseudo_labels: Those it was trained on, by pool position.
    """

    number: int
    line: Mapping[str, Any]
    pseudo_labels: PseudoLabels | None = None


@dataclass(frozen=True)
class Report:
    """One finished step.

    Args:
        losses: The loss of each objective, with tensors still on their device.
        progress: Share of training done after the step.
        phase: 1 while training is supervised alone, then 2.
        spent: Time spent so far, resumed parts included.
        evaluation: The line of the history written at this step, if one was.
        pictures: Images (n, c, h, w) in [0, 1] that the method has to show at an evaluation, such as generated ones.
        round: The round of a recipe that ended with this step; such a report has no losses.
    """

    run: str
    step: Step
    losses: tuple[Loss, ...]
    progress: float
    phase: int
    spent: Cost
    budget: Budget
    evaluation: Mapping[str, float] | None
    pictures: Mapping[str, Tensor] = field(default_factory=dict)
    round: Round | None = None


Observer = Callable[[Report], None]


class PseudoLabelQuality:
    """Diagnostics by someone who knows the hidden labels: how many pseudo-labels counted, and how many were right."""

    def __init__(self, hidden: NDArray[np.int64]) -> None:
        """`hidden` is the true class by pool position, -1 where it is not known."""
        self._hidden = hidden
        self.rounds: list[dict[str, float]] = []
        self._seen = self._counted = self._judged = self._right = 0

    def __call__(self, report: Report) -> None:
        """Take in one step or round; a line is added to `rounds` at every evaluation, and for every round."""
        for loss in report.losses:
            if loss.pseudo_labels is not None:
                self._count(loss.pseudo_labels)
        line: dict[str, float] = {"progress": report.progress}
        if report.round is not None and report.round.pseudo_labels is not None:
            line["round"] = report.round.number
            self._count(report.round.pseudo_labels)
        if (report.evaluation is not None or "round" in line) and self._seen:
            accuracy = self._right / self._judged if self._judged else float("nan")
            self.rounds.append(line | {"coverage": self._counted / self._seen, "pseudo_label_accuracy": accuracy})
            self._seen = self._counted = self._judged = self._right = 0

    def _count(self, found: PseudoLabels) -> None:
        counts = (found.weight > 0).cpu().numpy()
        truth = self._hidden[found.ids.cpu().numpy()]
        judged = counts & (truth >= 0)
        self._seen += len(counts)
        self._counted += int(counts.sum())
        self._judged += int(judged.sum())
        self._right += int((found.labels.cpu().numpy() == truth)[judged].sum())
