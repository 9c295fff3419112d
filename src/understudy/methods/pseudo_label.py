"""Pseudo-labeling: the network's own confident classes become targets whose weight grows during training."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, ClassVar

from torch import nn

from understudy.core.config import Knob
from understudy.core.types import Batch, Loss, PseudoLabels, Step
from understudy.functional.losses import cross_entropy
from understudy.functional.pseudo_labels import above_threshold, confidence_and_label
from understudy.functional.schedules import ramp_up
from understudy.methods.base import Method, register
from understudy.models.nets import Networks


@register
@dataclass(frozen=True, kw_only=True)
class PseudoLabel(Method[nn.Module]):
    """Pseudo-labeling (Lee, 2013), equations 15 and 16, with a confidence threshold.

    L = H(y_b, p(x_b)) + alpha(t) mean_u 1(max p(u) >= tau) H(argmax p(u), p(u)), where alpha rises from 0 to
    `lambda_u` in a straight line.

    Differs from the paper: a threshold keeps unsure images out (0 is the paper), alpha reaches its end at a share of
    training, its supervised first phase included, and not at an epoch, and the classes come from the averaged weights
    unless `teacher` is `model`.
    """

    paper: ClassVar[str] = "Lee, 2013, ICML workshop on challenges in representation learning"
    summary: ClassVar[str] = "Train on the network's own confident predictions, with a weight that ramps up."
    use_when: ClassVar[str] = "as the simplest reference, or without a meaningful strong augmentation"
    cost: ClassVar[float | None] = 7.2
    views: ClassVar[tuple[str, ...]] = ("weak",)

    mu: Annotated[int, Knob("unlabeled rows per labeled row", 1, probe=2)] = 7
    lambda_u: Annotated[float, Knob("weight of the unlabeled loss after ramp-up", 0, probe=0.25)] = 1.0
    threshold: Annotated[float, Knob("tau: minimum confidence of a pseudo-label", 0, 1, probe=0.0)] = 0.95
    ramp_up_end: Annotated[
        float, Knob("share of training after which the weight is fully ramped up", 0, 1, probe=0.0)
    ] = 0.4
    teacher: Annotated[
        str, Knob("network that predicts the pseudo-labels", choices=("ema", "model"), probe="model")
    ] = "ema"

    def unlabeled_batch_size(self, batch_size: int) -> int:
        """Unlabeled rows per step: `mu` times the labeled ones."""
        return self.mu * batch_size

    def loss(self, nets: Networks, batch: Batch, memory: nn.Module, step: Step) -> Loss:
        """Equation 15 on one step; images below the threshold are neither rendered again nor trained on."""
        unlabeled = batch.unlabeled
        probs = nets.predict(unlabeled.view("weak"), by=self.teacher).detach().softmax(-1)
        confidence, label = confidence_and_label(probs)
        mask = above_threshold(confidence, self.threshold)
        rows, scale = unlabeled.select(mask)
        logits, logits_u = nets.logits(batch.labeled.view(), unlabeled.view("weak", rows))
        alpha = self.lambda_u * ramp_up(step.progress, self.ramp_up_end)
        return Loss(
            terms={
                "supervised": self.labeled_term(logits, batch),
                "unsupervised": alpha * cross_entropy(logits_u, label[rows], scale, count=len(mask)),
            },
            metrics={"mask_ratio": mask.mean()},
            pseudo_labels=PseudoLabels(unlabeled.ids, label, mask),
        )
