"""FlexMatch: classes that few images were confidently given have a lower threshold."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, ClassVar

import torch
from jaxtyping import Float, Int
from torch import Tensor

from understudy.core import distributed
from understudy.core.config import Knob
from understudy.core.types import Batch, DataSpec, Loss, Step
from understudy.functional.losses import cross_entropy
from understudy.functional.pseudo_labels import above_threshold, confidence_and_label
from understudy.functional.thresholds import MAPPINGS, curriculum, flags_per_class, learning_status, newest_labels
from understudy.methods.base import AlignedMemory, WeakToStrong, pseudo_label_loss, register
from understudy.models.nets import Networks


class Flags(AlignedMemory):
    """The class that each image of the pool was last confidently given, -1 before that."""

    flags: Int[Tensor, "n"]

    def __init__(self, num_classes: int, num_unlabeled: int) -> None:
        super().__init__(num_classes)
        self.register_buffer("flags", torch.full((num_unlabeled,), -1))

    def update(self, ids: Int[Tensor, "u"], label: Int[Tensor, "u"], confident: Float[Tensor, "u"]) -> None:
        """Give the confident images of all processes their classes."""
        self.flags.copy_(newest_labels(self.flags, *(distributed.gather(rows) for rows in (ids, label, confident))))


@register
@dataclass(frozen=True, kw_only=True)
class FlexMatch(WeakToStrong[Flags]):
    """FlexMatch (Zhang et al., 2021), algorithm 1, equations 5 to 12.

    FixMatch with a threshold T_t(c) = M(beta_t(c)) tau for class c. Of the images whose confidence has reached tau,
    sigma_t(c) were given class c, each by its latest such prediction; beta_t(c) is sigma_t(c) over the largest of all
    sigma_t and, with threshold warm-up, of the number of images that were given none; M(x) is x / (2 - x) (`convex`),
    x (`linear`) or ln(1 + x) / ln 2 (`concave`). The thresholds of a step come from the steps before it.

    Differs from the paper: an image that is in a batch twice is given the class of its last confident view in the
    order of the global batch; an image counts from the threshold on, as in the authors' code, and not only above it.
    """

    paper: ClassVar[str] = "Zhang et al., 2021, https://arxiv.org/abs/2110.08263"
    summary: ClassVar[str] = "FixMatch with lower thresholds for classes that are learned more slowly."
    use_when: ClassVar[str] = "with few labels, classes of unequal difficulty, and a balanced pool"
    cost: ClassVar[float | None] = 8.4

    threshold: Annotated[float, Knob("tau: threshold of the best learned class", 0, 1, probe=0.5)] = 0.95
    mapping: Annotated[str, Knob("M: mapping from a class's learning status to its share of tau", choices=MAPPINGS)] = (
        "convex"
    )
    threshold_warm_up: Annotated[
        bool, Knob("whether images without a pseudo-label lower the thresholds (threshold warm-up)", probe=False)
    ] = True

    def memory(self, spec: DataSpec) -> Flags:
        """A flag for each image of the pool."""
        return Flags(spec.num_classes, spec.num_unlabeled)

    def loss(self, nets: Networks, batch: Batch, memory: Flags, step: Step) -> Loss:
        """Equations 4 to 12 on one step."""
        thresholds = self.thresholds(memory.flags, len(batch.labeled.class_counts))  # by the flags of steps before
        weak = self.predict_weak(nets, batch, memory)
        confidence, label = confidence_and_label(weak.aligned)
        memory.update(batch.unlabeled.ids, label, above_threshold(confidence, self.threshold))
        mask = above_threshold(confidence, thresholds[label])
        forward = self.forward_strong(nets, batch, memory, weak, mask)
        unsupervised = cross_entropy(forward.strong, label[forward.rows], forward.scale, count=len(mask))
        terms = {
            "supervised": self.labeled_term(forward.labeled, batch),
            "unsupervised": self.lambda_u * unsupervised,
        }
        return pseudo_label_loss(terms, batch, label, mask, threshold=thresholds.mean())

    def thresholds(self, flags: Int[Tensor, "n"], num_classes: int) -> Float[Tensor, "k"]:
        """T_t(c) of each class."""
        status = learning_status(flags_per_class(flags, num_classes), warm_up=self.threshold_warm_up)
        return self.threshold * curriculum(status, self.mapping)
