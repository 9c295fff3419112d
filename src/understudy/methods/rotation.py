"""Rotation: a network that can tell how an image was turned has understood what the image shows."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, ClassVar

import torch.nn.functional as F
from torch import nn

from understudy.core.config import Knob
from understudy.core.types import Batch, DataSpec, Loss, Step
from understudy.functional.rotation import NUM_TURNS, every_quarter_turn
from understudy.methods.base import Pretext, register
from understudy.models.nets import Networks


@register
@dataclass(frozen=True, kw_only=True)
class Rotation(Pretext[nn.Module]):
    """Rotation prediction (Gidaris et al., 2018), equations 2 and 3. Each image is rotated by 0, 90, 180 and 270°.

    L = mean over images x of -1/4 sum_y log F_y(g(x, y)), with g(x, y) the image rotated by y times 90 degrees and F
    the softmax of a linear layer on the features.

    Differs from the paper: the downstream features are the input of the classifier's head; the paper uses those of an
    earlier block. As in the paper, a batch has 512 rows: four rotations of 128 images, for a batch size of 64.
    Cost: four forwards per row.
    """

    paper: ClassVar[str] = "Gidaris et al., 2018, https://arxiv.org/abs/1803.07728"
    summary: ClassVar[str] = "Pretext: predict by which multiple of 90° an image was rotated."
    use_when: ClassVar[str] = "before another method, for images with a natural upright position"
    views: ClassVar[tuple[str, ...]] = ("weak",)
    needs_images: ClassVar[bool] = True

    mu: Annotated[int, Knob("rows per step, as a multiple of batch_size; labels are not used", 1, probe=1)] = 2

    def networks(self, classifier: nn.Module, spec: DataSpec) -> Networks:
        """The classifier, and a layer that tells turns apart."""
        return Networks(model=classifier, projection=nn.Linear(spec.feature_width, NUM_TURNS))

    def loss(self, nets: Networks, batch: Batch, memory: nn.Module, step: Step) -> Loss:
        """Equations 2 and 3 on one step."""
        turned, turns = every_quarter_turn(batch.unlabeled.view("weak"))
        (logits,) = nets.through("projection", *self.features(nets, turned))
        accuracy = (logits.detach().argmax(-1) == turns).float().mean()
        return Loss({"rotation": F.cross_entropy(logits, turns)}, {"rotation_accuracy": accuracy})
