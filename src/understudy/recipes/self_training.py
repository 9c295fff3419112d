"""Iterative self-training: the confident part of the pool joins the labels, round after round."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from understudy.engine.stage import Stage
from understudy.recipes.base import RECIPES
from understudy.recipes.rounds import Rounds, Student


@RECIPES.register("self_training")
@dataclass(frozen=True, kw_only=True)
class SelfTraining(Rounds):
    """Train on the labels, label what is confident, train a fresh network of the same kind on both, and repeat."""

    summary: ClassVar[str] = (
        "Rounds of training, pseudo-labeling the confident part of the pool, and training from scratch on both."
    )
    use_when: ClassVar[str] = "to inspect and correct the pseudo-labels of every round, or for any kind of data"

    def student(self, stage: Stage) -> Student:
        """A network like the teacher, with the teacher's initial weights."""
        return Student(stage.network, stage.network, stage.network_name, stage.settings)
