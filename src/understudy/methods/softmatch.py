"""SoftMatch: every image counts, by a weight that falls smoothly with how far its confidence is below the average."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, ClassVar

import torch
from jaxtyping import Float
from torch import Tensor, nn

from understudy.core import distributed
from understudy.core.config import Knob
from understudy.core.types import Batch, DataSpec, Loss, Step
from understudy.functional.pseudo_labels import align, confidence_and_label, truncated_gaussian
from understudy.methods.base import WeakToStrong, register
from understudy.models.nets import Networks


class ConfidenceStatistics(nn.Module):
    """Running mean and variance of the confidence, and running mean of the predicted class distribution."""

    updates: Float[Tensor, ""]
    mean: Float[Tensor, ""]
    variance: Float[Tensor, ""]
    marginal: Float[Tensor, "k"]

    def __init__(self, num_classes: int) -> None:
        super().__init__()
        self.register_buffer("updates", torch.tensor(0.0))
        self.register_buffer("mean", torch.tensor(1.0 / num_classes))
        self.register_buffer("variance", torch.tensor(1.0))
        self.register_buffer("marginal", torch.full((num_classes,), 1.0 / num_classes))


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
        "Weigh the strong view by how near the confidence is to its running mean, class balance aligned."
    )
    use_when: ClassVar[str] = "by default: good from few labels to many, with no threshold to tune"

    momentum: Annotated[float, Knob("decay of the running statistics", 0, 1, probe=0.5)] = 0.999
    num_deviations: Annotated[float, Knob("n_sigma of the paper: larger falls faster", 0.1, probe=8.0)] = 2.0
    alignment: Annotated[
        str, Knob("class balance that predictions are aligned to", choices=("uniform", "none"), probe="none")
    ] = "uniform"
    cut_off: Annotated[float, Knob("weight under which an image is left out", 0, 1, probe=0.6)] = 0.05

    def memory(self, spec: DataSpec) -> ConfidenceStatistics:
        """Running statistics of confidence and class balance."""
        return ConfidenceStatistics(spec.num_classes)

    def loss(self, nets: Networks, batch: Batch, memory: ConfidenceStatistics, step: Step) -> Loss:
        """Equations 5 to 9 on one step."""
        return self.consistency(nets, batch, lambda logits: self.judge(logits, memory))

    def judge(self, logits: Float[Tensor, "u k"], memory: ConfidenceStatistics) -> tuple[Tensor, Float[Tensor, "u"]]:
        """The class of each row and its weight, after the running statistics took in these rows."""
        probs = logits.softmax(-1)
        _, label = confidence_and_label(probs)
        keep = ((1 + memory.updates) / (10 + memory.updates)).clamp(max=self.momentum)
        memory.updates.add_(1)
        memory.marginal.lerp_(distributed.mean(probs.mean(0)), 1 - keep)
        if self.alignment == "uniform":
            probs = align(probs, torch.full_like(memory.marginal, 1 / probs.shape[-1]), memory.marginal)
        confidence, _ = confidence_and_label(probs)
        count = len(confidence) * distributed.world_size()
        mean = distributed.mean(confidence.mean())
        variance = distributed.mean((confidence - mean).square().mean()) * (count / max(1, count - 1))
        memory.mean.lerp_(mean, 1 - keep)
        memory.variance.lerp_(variance, 1 - keep)
        weight = truncated_gaussian(confidence, memory.mean, memory.variance, self.num_deviations)
        return label, torch.where(weight >= self.cut_off, weight, 0.0)
