"""Pi-model: two stochastic passes over an image should agree."""

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
class PiModel(Method[nn.Module]):
    """Pi-model (Laine and Aila, 2017), algorithm 1.

    Each image passes the network twice, with other augmentation and dropout each time, and the squared difference of
    the two predictions is a loss. The gradient flows through both.

    L = mean_b H(y_b, p(x_b)) + w(t) mean_u |z_u - z'_u|^2 / k over k classes, with w(t) = lambda_u exp(-5 (1 - T)^2)
    and T rising from 0 to 1 in a straight line until `ramp_up_end`.

    Differs from the paper: `lambda_u` is 10, the weight of later comparisons at these few labels (TorchSSL: 10, Oliver
    et al., 2018: 20, both with the gradient of one pass alone, which is half of ours). The paper's 100 M / N for M
    labels among N images is 100 here, since our labeled loss is a mean over labeled rows and not over all. The ramp's
    end is the paper's 80 of 300 epochs as a share of training, its supervised first phase included. A step trains on
    (1 + 2 mu) rows per labeled one.
    """

    paper: ClassVar[str] = "Laine and Aila, 2017, https://arxiv.org/abs/1610.02242"
    summary: ClassVar[str] = "Two passes over an image with different noise must give the same prediction."
    use_when: ClassVar[str] = "as the simplest consistency loss, or without a meaningful strong augmentation"
    cost: ClassVar[float | None] = 11.8
    views: ClassVar[tuple[str, ...]] = ("weak",)

    mu: Annotated[int, Knob("unlabeled rows per labeled row", 1, probe=2)] = 1
    lambda_u: Annotated[float, Knob("weight of the unlabeled loss after ramp-up", 0, probe=1.0)] = 10.0
    ramp_up_end: Annotated[
        float, Knob("share of training after which the weight is fully ramped up", 0, 1, probe=0.9)
    ] = 0.27

    def unlabeled_batch_size(self, batch_size: int) -> int:
        """Unlabeled rows per step: `mu` times the labeled ones."""
        return self.mu * batch_size

    def loss(self, nets: Networks, batch: Batch, memory: nn.Module, step: Step) -> Loss:
        """Algorithm 1 on one step."""
        unlabeled = batch.unlabeled
        logits, *passes = nets.logits(batch.labeled.view(), unlabeled.view("weak"), unlabeled.view("weak", draw=1))
        first, second = (logits_u.softmax(-1) for logits_u in passes)
        weight = self.lambda_u * gaussian_ramp_up(step.progress, self.ramp_up_end)
        ones = torch.ones(len(first), device=first.device)
        return Loss(
            terms={
                "supervised": self.labeled_term(logits, batch),
                "unsupervised": weight * (first - second).square().mean(),
            },
            metrics={"mask_ratio": ones.mean()},
            pseudo_labels=PseudoLabels(unlabeled.ids, (first + second).detach().argmax(-1), ones),
        )
