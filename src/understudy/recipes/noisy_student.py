"""Noisy Student: a teacher without noise labels the pool, and a student trained with noise learns those labels."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import Annotated, ClassVar

from understudy.core.config import Knob
from understudy.core.errors import ConfigError
from understudy.core.seeding import seed_torch
from understudy.engine.stage import Stage
from understudy.models import build
from understudy.models.noise import with_noise
from understudy.recipes.base import RECIPES
from understudy.recipes.parts.network_size import size_note
from understudy.recipes.parts.pool_labels import BALANCES
from understudy.recipes.rounds import Rounds, Student

_OWN_MODULE = "module:"


@RECIPES.register("noisy_student")
@dataclass(frozen=True, kw_only=True)
class NoisyStudent(Rounds):
    """The teacher labels plain images; the student learns the labels with noise on images and network.

    Xie et al., 2020 (https://arxiv.org/abs/1911.04252): strong augmentation of every training image, dropout before the
    head (0.5) and stochastic depth (survival 0.8 in the last block) noise the student, never the teacher; images below
    a confidence of 0.3 are left out, and each class is filled up or cut to the same number of images. The student is as
    large as the teacher or larger, and becomes the next teacher; the paper iterates three times.

    Differs from the paper: classes are brought to their share among the true labels instead of equal numbers, and no
    image stands there more than ten times; a batch holds 3 pseudo-labeled images per labeled one, where the paper takes
    14 and more, unless `labeled_share` says otherwise; students do not end on larger images.
    """

    summary: ClassVar[str] = "Rounds in which a student with noise learns a teacher's labels of the pool."
    use_when: ClassVar[str] = "for robustness, or to transfer from a small network to a larger one"

    threshold: Annotated[float, Knob("minimum confidence of a pseudo-label", 0, 1)] = 0.3
    balance: Annotated[
        str, Knob("cap limits classes to their quota; duplicate also repeats rows of rare classes", choices=BALANCES)
    ] = "duplicate"
    labels: Annotated[str, Knob("hard (class) or soft (probabilities) targets", choices=("hard", "soft"))] = "soft"
    student_network: Annotated[str, Knob("network of the students; by default that of the teacher")] = ""
    dropout: Annotated[float, Knob("dropout rate at the input of the head", 0, 0.95)] = 0.5
    stochastic_depth: Annotated[
        float, Knob("drop rate of the last residual block; lower for earlier blocks", 0, 0.95)
    ] = 0.2
    student_view: Annotated[
        str, Knob("augmentation of the students' training images", choices=("weak", "strong", "mixed"))
    ] = "strong"

    def check(self, stage: Stage) -> None:
        """Validate that there is a pool to label, and that the student can be built.

        Raises:
            ConfigError: There is no unlabeled row, or a student is named for a module of the user's own.
            UserError: The student's network is unknown.
        """
        if self.student_network and stage.network_name.startswith(_OWN_MODULE):
            raise ConfigError(
                f"recipe.student_network is {self.student_network!r}, and your own module could not be trained in "
                "place; leave student_network empty, or give the network by name"
            )
        super().check(stage)

    def student(self, stage: Stage) -> Student:
        """The network asked for, or one like the teacher's, with its noise."""
        network, name, notes = stage.network, stage.network_name, list[str]()
        if self.student_network and self.student_network != name:
            seed_torch("initial weights", stage.settings.seed)
            num_classes = len(stage.data.classes)
            network = build(self.student_network, shape=stage.data.row_shape, num_classes=num_classes)
            name = self.student_network
            notes.append(size_note(network, stage.network, "the teacher's"))
        noisy, skipped = with_noise(network, dropout=self.dropout, stochastic_depth=self.stochastic_depth)
        if self.stochastic_depth and not skipped:
            notes.append("stochastic depth is not known for this network, so dropout is its only noise")
        settings = dataclasses.replace(stage.settings, labeled_view=self.student_view)
        return Student(network, noisy, name, settings, "; ".join(notes))
