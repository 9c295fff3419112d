"""Mean Teacher: the network should agree with the running average of its own weights."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, ClassVar

import torch
from torch import nn

from understudy.core.config import Knob
from understudy.core.types import Batch, Loss, PseudoLabels, Step
from understudy.functional.schedules import gaussian_ramp_up
from understudy.methods.base import Method, register
from understudy.models.nets import Networks


@register
@dataclass(frozen=True, kw_only=True)
class MeanTeacher(Method[nn.Module]):
    """Mean Teacher (Tarvainen and Valpola, 2017), section 2 and equation 1.

    The teacher is the running average theta' = a theta' + (1 - a) theta of the weights; it and the student see weak
    views of their own of an image, and the squared difference of their predictions is a loss of the student alone.

    L = mean_b H(y_b, p(x_b)) + w(t) mean_u |p(weak(u); theta) - p(weak'(u); theta')|^2 / k over k classes, with
    w(t) = lambda_u exp(-5 (1 - T)^2) and T rising from 0 to 1 in a straight line until `ramp_up_end`.

    As in the paper the teacher runs as the student does, with dropout and normalized by the same kind of batch, but
    without gradient and without moving running statistics. A teacher in evaluation mode, whose running statistics lag
    behind, pulls the student to one class (digits with 40 labels, 200 steps: 0.25 instead of 0.92).

    Differs from the paper: a is `ema_decay`, reached as (1 + t) / (10 + t). `lambda_u` is 50, that of TorchSSL (Oliver
    et al., 2018: 8); the paper's 100 M / N for M labels among N images is 100 here, since our labeled loss is a mean
    over labeled rows and not over all. The ramp's end is the authors' 40,000 of 150,000 steps as a share of training,
    its supervised first phase included. A step trains on (1 + mu) rows per labeled one and predicts as many.
    """

    paper: ClassVar[str] = "Tarvainen and Valpola, 2017, https://arxiv.org/abs/1703.01780"
    summary: ClassVar[str] = "Match the prediction of the averaged weights on another view."
    use_when: ClassVar[str] = "without a meaningful strong augmentation; also for feature vectors"
    cost: ClassVar[float | None] = 8.4
    views: ClassVar[tuple[str, ...]] = ("weak",)

    mu: Annotated[int, Knob("unlabeled rows per labeled row", 1, probe=2)] = 1
    lambda_u: Annotated[float, Knob("weight of the unlabeled loss after ramp-up", 0, probe=5.0)] = 50.0
    ramp_up_end: Annotated[
        float, Knob("share of training after which the weight is fully ramped up", 0, 1, probe=0.9)
    ] = 0.27

    def unlabeled_batch_size(self, batch_size: int) -> int:
        """Unlabeled rows per step: `mu` times the labeled ones."""
        return self.mu * batch_size

    def loss(self, nets: Networks, batch: Batch, memory: nn.Module, step: Step) -> Loss:
        """The classification and the consistency cost on one step."""
        labeled, unlabeled = batch.labeled.view(), batch.unlabeled
        _, logits_teacher = nets.predict_in_training(labeled, unlabeled.view("weak", draw=1))
        targets = logits_teacher.detach().softmax(-1)
        logits, logits_u = nets.logits(labeled, unlabeled.view("weak"))
        weight = self.lambda_u * gaussian_ramp_up(step.progress, self.ramp_up_end)
        ones = torch.ones(len(targets), device=targets.device)
        return Loss(
            terms={
                "supervised": self.labeled_term(logits, batch),
                "unsupervised": weight * (logits_u.softmax(-1) - targets).square().mean(),
            },
            metrics={"mask_ratio": ones.mean()},
            pseudo_labels=PseudoLabels(unlabeled.ids, targets.argmax(-1), ones),
        )
