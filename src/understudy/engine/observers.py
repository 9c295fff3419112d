"""Those who watch a run: they get an immutable report per step and return nothing."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from understudy.core.budget import Budget, Cost
from understudy.core.types import Loss, Step


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


Observer = Callable[[Report], None]


class PseudoLabelQuality:
    """Diagnostics by someone who knows the hidden labels: how many pseudo-labels counted, and how many were right."""

    def __init__(self, hidden: NDArray[np.int64]) -> None:
        """`hidden` is the true class by pool position, -1 where it is not known."""
        self._hidden = hidden
        self.rounds: list[dict[str, float]] = []
        self._seen = self._counted = self._judged = self._right = 0

    def __call__(self, report: Report) -> None:
        """Take in one step; a line is added to `rounds` at every evaluation."""
        for loss in report.losses:
            found = loss.pseudo_labels
            if found is None:
                continue
            counts = (found.weight > 0).cpu().numpy()
            truth = self._hidden[found.ids.cpu().numpy()]
            judged = counts & (truth >= 0)
            self._seen += len(counts)
            self._counted += int(counts.sum())
            self._judged += int(judged.sum())
            self._right += int((found.labels.cpu().numpy() == truth)[judged].sum())
        if report.evaluation is not None and self._seen:
            accuracy = self._right / self._judged if self._judged else float("nan")
            line = {"progress": report.progress, "coverage": self._counted / self._seen}
            self.rounds.append(line | {"pseudo_label_accuracy": accuracy})
            self._seen = self._counted = self._judged = self._right = 0
