"""SoftMatch: every image counts, by a weight that falls smoothly with how far its confidence is below the average."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Annotated, ClassVar

import torch
from jaxtyping import Float
from torch import Tensor

from understudy.core import distributed
from understudy.core.config import Knob
from understudy.core.types import Batch, DataSpec, Loss, Step
from understudy.functional.alignment import Alignment
from understudy.functional.pseudo_labels import confidence_and_label, truncated_gaussian
from understudy.functional.schedules import ema_decay_of
from understudy.methods.base import AlignedMemory, WeakToStrong, register
from understudy.models.nets import Networks


class ConfidenceStatistics(AlignedMemory):
    """Running mean and variance of the confidence."""

    updates: Float[Tensor, ""]
    mean: Float[Tensor, ""]
    variance: Float[Tensor, ""]

    def __init__(self, num_classes: int) -> None:
        super().__init__(num_classes)
        self.register_buffer("updates", torch.tensor(0.0))
        self.register_buffer("mean", torch.tensor(1.0 / num_classes))
        self.register_buffer("variance", torch.tensor(1.0))

    def update(self, confidence: Float[Tensor, "u"], momentum: float) -> None:
        """Move mean and variance towards those of these rows, over all processes (equation 8)."""
        keep = ema_decay_of(self.updates, momentum)
        self.updates.add_(1)
        count = len(confidence) * distributed.world_size()
        mean = distributed.mean(confidence.mean())
        variance = distributed.mean((confidence - mean).square().mean()) * (count / max(1, count - 1))
        self.mean.lerp_(mean, 1 - keep)
        self.variance.lerp_(variance, 1 - keep)


@register
@dataclass(frozen=True, kw_only=True)
class SoftMatch(WeakToStrong[ConfidenceStatistics]):
    """SoftMatch (Chen et al., 2023), equations 5 to 9, with uniform alignment.

    The weight of an image is lambda(q) = exp(-(max q - mu_t)^2 / (2 sigma_t^2 / n_sigma^2)) below the running mean
    mu_t of the confidence, and 1 above it; the confidence is that of the aligned distribution, the target is the
    class of the unaligned one, as in the authors' code.

    Differs from the paper: a weight under `cut_off` counts as zero, so that its strong view need not be trained on
    (0 is the paper); the running statistics' decay rises to `momentum` as (1 + t) / (10 + t), since a run of a few
    hundred steps would otherwise still see their starting values.
    """

    paper: ClassVar[str] = "Chen et al., 2023, https://arxiv.org/abs/2301.10921"
    summary: ClassVar[str] = (
        "Weight the strong view by how close the confidence is to its running mean, with distribution alignment."
    )
    use_when: ClassVar[str] = "by default: good with few and many labels, without a threshold to tune"
    cost: ClassVar[float | None] = 7.9

    momentum: Annotated[float, Knob("decay of the running statistics", 0, 1, probe=0.5)] = 0.999
    num_deviations: Annotated[
        float, Knob("n_sigma: larger values reduce the weight of unconfident images faster", 0.1, probe=8.0)
    ] = 2.0
    alignment: Alignment = field(default_factory=lambda: Alignment(target="uniform"))
    cut_off: Annotated[float, Knob("minimum weight; images below it are skipped", 0, 1, probe=0.6)] = 0.05

    def memory(self, spec: DataSpec) -> ConfidenceStatistics:
        """Running statistics of confidence and class balance."""
        return ConfidenceStatistics(spec.num_classes)

    def loss(self, nets: Networks, batch: Batch, memory: ConfidenceStatistics, step: Step) -> Loss:
        """Equations 5 to 9 on one step."""
        weak = self.predict_weak(nets, batch, memory)
        _, label = confidence_and_label(weak.probs)
        confidence, _ = confidence_and_label(weak.aligned)
        memory.update(confidence, self.momentum)
        weight = truncated_gaussian(confidence, memory.mean, memory.variance, self.num_deviations)
        weight = torch.where(weight >= self.cut_off, weight, 0.0)
        return self.learn_strong(nets, batch, memory, weak, label, weight)
