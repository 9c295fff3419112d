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
from understudy.functional.pseudo_labels import above_threshold, confidence_and_label
from understudy.functional.schedules import averaging_decay_of
from understudy.functional.thresholds import self_adaptive
from understudy.methods.base import AlignedMemory, WeakToStrong, register
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
    summary: ClassVar[str] = "FixMatch with thresholds that follow running confidence, and a term for class fairness."
    use_when: ClassVar[str] = "with very few labels, and where no threshold is known to be right"
    cost: ClassVar[float | None] = 8.0

    momentum: Annotated[float, Knob("lambda, the decay of the running means", 0, 1, probe=0.2)] = 0.999
    w_f: Annotated[float, Knob("weight of the fairness term", 0, probe=1.0)] = 0.05

    def memory(self, spec: DataSpec) -> LearningStatus:
        """Running means of what the teacher predicts."""
        return LearningStatus(spec.num_classes)

    def loss(self, nets: Networks, batch: Batch, memory: LearningStatus, step: Step) -> Loss:
        """Equation 12 on one step."""
        judged = self.judged(nets, batch, memory, lambda _, aligned: self.judge(aligned, memory))
        fairness = class_fairness(judged.strong.softmax(-1), judged.scale, memory.prediction, memory.histogram)
        terms = {"supervised": self.labeled_term(judged.labeled, batch), "fairness": self.w_f * fairness}
        return self.as_loss(batch, judged, terms, threshold=memory.confidence.clone())

    def judge(self, aligned: Float[Tensor, "u k"], memory: LearningStatus) -> tuple[Tensor, Float[Tensor, "u"]]:
        """The class of each row, and 1 where its confidence reaches that class's threshold, these rows included."""
        confidence, label = confidence_and_label(aligned)
        keep = averaging_decay_of(memory.updates, self.momentum)
        memory.updates.add_(1)
        classes = F.one_hot(label, aligned.shape[-1]).to(aligned.dtype)
        for running, rows in (
            (memory.confidence, confidence),
            (memory.prediction, aligned),
            (memory.histogram, classes),
        ):
            running.lerp_(distributed.mean(rows.mean(0)), 1 - keep)
        return label, above_threshold(confidence, self_adaptive(memory.confidence, memory.prediction)[label])
