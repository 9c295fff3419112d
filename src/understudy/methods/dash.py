"""Dash: an unlabeled image counts while its loss is below a threshold that starts from the labels' and falls."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Annotated, ClassVar

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

from understudy.core import distributed
from understudy.core.config import Knob
from understudy.core.types import Batch, DataSpec, Loss, Objective, Step
from understudy.functional.losses import cross_entropy
from understudy.functional.pseudo_labels import sharpen
from understudy.functional.schedules import ema_decay_of
from understudy.methods.base import AlignedMemory, WeakToStrong, pseudo_label_loss, register
from understudy.models.nets import Networks

WARM_UP_DECAY = 0.9  # of the labeled loss's running mean: about ten steps, since the loss after warm-up is wanted


class LabeledLoss(AlignedMemory):
    """The labeled loss that the first phase ended with, and when that was; without one, the loss of a fair guess."""

    updates: Float[Tensor, ""]
    loss: Float[Tensor, ""]
    end: Float[Tensor, ""]

    def __init__(self, num_classes: int) -> None:
        super().__init__(num_classes)
        self.register_buffer("updates", torch.tensor(0.0))
        self.register_buffer("loss", torch.tensor(math.log(num_classes)))
        self.register_buffer("end", torch.tensor(0.0))


@register
@dataclass(frozen=True, kw_only=True)
class Dash(WeakToStrong[LabeledLoss]):
    """Dash (Xu et al., 2021), algorithm 1 on FixMatch.

    L = H(y_b, p(weak(x_b))) + lambda_u mean_u 1(H(y_u, q_u) <= rho_t) H(y_u, p(strong(u))), with q_u = p(weak(u)) and
    rho_t = max(rho_min, C gamma^-(t-1) rho_hat), where rho_hat is the labeled loss after the supervised first phase.
    The target y_u is q_u sharpened by `temperature` until rho_t has reached rho_min, and its class from then on.

    Differs from the paper: t counts `num_reductions` equal shares of the second phase, by default as many as the
    paper's 1,024 epochs have ninths, since a count of epochs would leave a short run with a threshold that never
    falls. rho_hat is the running mean of the first phase's own labeled losses, which costs no pass over the labels; a
    run without a first phase starts from log k. (A widely used implementation measures rho_hat on the test images and
    their labels.) Rows that do not count stay in the denominator, as in FixMatch.
    """

    paper: ClassVar[str] = "Xu et al., 2021, https://arxiv.org/abs/2109.00650"
    summary: ClassVar[str] = "Train on images whose loss is below a threshold that decreases during training."
    use_when: ClassVar[str] = "if few predictions are confident early, so that a fixed threshold selects nothing"
    cost: ClassVar[float | None] = 8.0

    rho_min: Annotated[float, Knob("minimum of the threshold", 0, probe=1.0)] = 0.05
    gamma: Annotated[float, Knob("factor by which the threshold is divided at each reduction", 1, probe=1.01)] = 1.27
    c: Annotated[
        float, Knob("initial threshold, relative to the labeled loss after the first phase", 0, probe=20.0)
    ] = 1.0001
    num_reductions: Annotated[
        int, Knob("number of reductions; those after rho_min is reached have no effect", 1, probe=2)
    ] = 114
    temperature: Annotated[
        float, Knob("temperature of the targets until rho_min is reached; 1 leaves them unchanged", 0, probe=2.0)
    ] = 0.5

    def memory(self, spec: DataSpec) -> LabeledLoss:
        """The labeled loss of the first phase."""
        return LabeledLoss(spec.num_classes)

    def first_phase(self) -> tuple[Objective, ...]:
        """The supervised step, which also remembers its loss."""
        return (Objective(self.warm_up),)

    def warm_up(self, nets: Networks, batch: Batch, memory: LabeledLoss, step: Step) -> Loss:
        """The labeled term alone, after its cross-entropy entered the running mean."""
        labeled = batch.labeled
        (logits,) = nets.logits(labeled.view())
        with torch.no_grad():
            keep = ema_decay_of(memory.updates, WARM_UP_DECAY)
            memory.updates.add_(1)
            memory.loss.lerp_(distributed.mean(cross_entropy(logits, labeled.targets, labeled.weight)), 1 - keep)
            memory.end.fill_(step.progress)
        return Loss({"supervised": self.labeled_term(logits, batch)})

    def loss(self, nets: Networks, batch: Batch, memory: LabeledLoss, step: Step) -> Loss:
        """Algorithm 1 on one step."""
        rho = self.threshold(memory, step)
        weak = self.predict_weak(nets, batch, memory)
        targets, mask = self.pseudo_labels(weak.aligned, rho)
        forward = self.forward_strong(nets, batch, memory, weak, mask)
        unsupervised = cross_entropy(forward.strong, targets[forward.rows], forward.scale, count=len(mask))
        terms = {
            "supervised": self.labeled_term(forward.labeled, batch),
            "unsupervised": self.lambda_u * unsupervised,
        }
        return pseudo_label_loss(terms, batch, targets, mask, threshold=rho)

    def threshold(self, memory: LabeledLoss, step: Step) -> Float[Tensor, ""]:
        """rho_t, the loss up to which an unlabeled row counts."""
        # Warm-up may be the whole run: its share then divides by a number that is small, and not by zero.
        done = (step.progress - memory.end) / (1 - memory.end).clamp(min=1e-6)
        reductions = (self.num_reductions * done.clamp(0, 1)).floor()
        return (self.c * memory.loss * self.gamma**-reductions).clamp(min=self.rho_min)

    def pseudo_labels(
        self, probs: Float[Tensor, "u k"], rho: Float[Tensor, ""]
    ) -> tuple[Float[Tensor, "u k"], Float[Tensor, "u"]]:
        """The target of each row, and 1 where the prediction's cross-entropy to it is at most rho."""
        classes = F.one_hot(probs.argmax(-1), probs.shape[-1]).to(probs.dtype)
        targets = torch.where(rho <= self.rho_min, classes, sharpen(probs, self.temperature))
        losses = -(targets * probs.clamp(min=torch.finfo(probs.dtype).tiny).log()).sum(-1)  # 0 log 0 is 0
        return targets, (losses <= rho).to(probs.dtype)
