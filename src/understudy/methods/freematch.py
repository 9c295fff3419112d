"""FreeMatch: thresholds follow the model's own running confidence, overall and per class."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, ClassVar

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

from understudy.core import distributed
from understudy.core.config import Knob
from understudy.core.types import Batch, DataSpec, Loss, Step
from understudy.functional.fairness import class_fairness
from understudy.functional.losses import cross_entropy
from understudy.functional.pseudo_labels import above_threshold, confidence_and_label
from understudy.functional.schedules import ema_decay_of
from understudy.functional.thresholds import self_adaptive
from understudy.methods.base import AlignedMemory, WeakToStrong, pseudo_label_loss, register
from understudy.models.nets import Networks


class LearningStatus(AlignedMemory):
    """Running means over the pool: the confidence, the predictions and the predicted classes."""

    updates: Float[Tensor, ""]
    confidence: Float[Tensor, ""]
    prediction: Float[Tensor, "k"]
    histogram: Float[Tensor, "k"]

    def __init__(self, num_classes: int) -> None:
        super().__init__(num_classes)
        self.register_buffer("updates", torch.tensor(0.0))
        self.register_buffer("confidence", torch.tensor(1.0 / num_classes))
        for name in ("prediction", "histogram"):
            self.register_buffer(name, torch.full((num_classes,), 1.0 / num_classes))

    def update(self, probs: Float[Tensor, "u k"], momentum: float) -> None:
        """Move the means towards those of these predictions, over all processes (equations 5, 6 and 8)."""
        confidence, label = confidence_and_label(probs)
        keep = ema_decay_of(self.updates, momentum)
        self.updates.add_(1)
        classes = F.one_hot(label, probs.shape[-1]).to(probs.dtype)
        for running, rows in ((self.confidence, confidence), (self.prediction, probs), (self.histogram, classes)):
            running.lerp_(distributed.mean(rows.mean(0)), 1 - keep)


@register
@dataclass(frozen=True, kw_only=True)
class FreeMatch(WeakToStrong[LearningStatus]):
    """FreeMatch (Wang et al., 2023), equations 5 to 12.

    FixMatch with a threshold tau_t(c) = tau_t p_t(c) / max p_t for class c, where tau_t and p_t are running means of
    the confidence and of the predictions on the pool, both starting at 1/k; plus `w_f` times a fairness term
    -H(SumNorm(p_t / h_t), SumNorm(p / h)), where h_t is the running share of predicted classes, and p and h are the
    mean prediction and the share of predicted classes of the strong views that count.

    Differs from the paper: the running means' decay rises to `momentum` as (1 + t) / (10 + t), since a run of a few
    hundred steps would otherwise still see their starting values; the paper's bounds of the threshold for SVHN are
    left out. A class absent from h is left out of the quotient, as in the authors' code. `w_f` is the paper's for
    CIFAR-10 with 40 labels and more; it takes 0.01 with fewer.
    """

    paper: ClassVar[str] = "Wang et al., 2023, https://arxiv.org/abs/2205.07246"
    summary: ClassVar[str] = "FixMatch with self-adaptive thresholds and a class fairness term."
    use_when: ClassVar[str] = "with very few labels, or if no threshold is known to work"
    cost: ClassVar[float | None] = 8.0

    momentum: Annotated[float, Knob("lambda: decay of the running means", 0, 1, probe=0.2)] = 0.999
    w_f: Annotated[float, Knob("weight of the fairness term", 0, probe=1.0)] = 0.05

    def memory(self, spec: DataSpec) -> LearningStatus:
        """Running means of what the teacher predicts."""
        return LearningStatus(spec.num_classes)

    def loss(self, nets: Networks, batch: Batch, memory: LearningStatus, step: Step) -> Loss:
        """Equation 12 on one step."""
        weak = self.predict_weak(nets, batch, memory)
        confidence, label = confidence_and_label(weak.aligned)
        memory.update(weak.aligned, self.momentum)  # first: this step's rows count in their own thresholds
        thresholds = self_adaptive(memory.confidence, memory.prediction)
        mask = above_threshold(confidence, thresholds[label])
        forward = self.forward_strong(nets, batch, memory, weak, mask)
        fairness = class_fairness(forward.strong.softmax(-1), forward.scale, memory.prediction, memory.histogram)
        unsupervised = cross_entropy(forward.strong, label[forward.rows], forward.scale, count=len(mask))
        terms = {
            "supervised": self.labeled_term(forward.labeled, batch),
            "fairness": self.w_f * fairness,
            "unsupervised": self.lambda_u * unsupervised,
        }
        return pseudo_label_loss(terms, batch, label, mask, threshold=memory.confidence.clone())
