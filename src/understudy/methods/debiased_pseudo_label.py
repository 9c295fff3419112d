"""DebiasPL: classes that get more than their share of predictions are held back, in the labels and in the loss."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, ClassVar

import torch
from jaxtyping import Float
from torch import Tensor

from understudy.core import distributed
from understudy.core.config import Knob
from understudy.core.types import Batch, DataSpec, Loss, Step
from understudy.functional.losses import cross_entropy
from understudy.functional.pseudo_labels import above_threshold, confidence_and_label
from understudy.functional.schedules import ema_decay_of
from understudy.methods.base import AlignedMemory, WeakToStrong, pseudo_label_loss, register
from understudy.models.nets import Networks


class MeanPrediction(AlignedMemory):
    """Running mean of the predictions on the pool, the paper's p-hat."""

    updates: Float[Tensor, ""]
    mean: Float[Tensor, "k"]

    def __init__(self, num_classes: int) -> None:
        super().__init__(num_classes)
        self.register_buffer("updates", torch.tensor(0.0))
        self.register_buffer("mean", torch.full((num_classes,), 1.0 / num_classes))

    def update(self, probs: Float[Tensor, "u k"], momentum: float) -> None:
        """Move the mean towards that of these predictions, over all processes (equation 4)."""
        keep = ema_decay_of(self.updates, momentum)
        self.updates.add_(1)
        self.mean.lerp_(distributed.mean(probs.mean(0)), 1 - keep)


@register
@dataclass(frozen=True, kw_only=True)
class DebiasedPseudoLabel(WeakToStrong[MeanPrediction]):
    """DebiasPL (Wang et al., 2022): FixMatch, with the network's preference for some classes taken out twice.

    Pseudo-labels come from the logits f~ = f(weak(u)) - lambda log p^ (counterfactual reasoning, equation 3), where
    p^ <- m p^ + (1 - m) mean_u p(weak(u)) (equation 4). The strong view is trained with margins that p^ sets (adaptive
    marginal loss): L_u = mean_u 1(max softmax(f~) >= tau) H(argmax f~, softmax(f(strong(u)) + lambda log p^)).

    Evidence: ImageNet with 0.2 % and 1 % of the labels, 52.0 and 65.6 % against 43.6 and 60.9 % of FixMatch (authors'
    code). On long-tailed CIFAR-10 (ratio 100) the USB benchmark measured 77.5 against 76.7 % with a pool of the labels'
    balance, and 69.7 against 70.0 % with a reversed one: an auxiliary balanced classifier gains more there.

    Differs from the paper: the decay rises to `momentum` as (1 + t) / (10 + t), since a run of a few hundred steps
    would otherwise never debias. As in the authors' code, p^ is taken before the step's update for the labels and
    after it for the margins; their second pair of views and their optional third loss, both for ImageNet, are left out.
    """

    paper: ClassVar[str] = "Wang et al., 2022, https://arxiv.org/abs/2201.01490"
    summary: ClassVar[str] = "FixMatch with logits corrected for the network's running bias towards some classes."
    use_when: ClassVar[str] = "with few labels or many classes, if a few classes attract most pseudo-labels"
    cost: ClassVar[float | None] = 7.6

    threshold: Annotated[float, Knob("tau: minimum confidence of a pseudo-label", 0, 1, probe=0.0)] = 0.95
    momentum: Annotated[float, Knob("decay of the running mean prediction", 0, 1, probe=0.2)] = 0.999
    debiasing: Annotated[float, Knob("lambda: strength of the debiasing and of the margins", 0, probe=2.0)] = 0.5

    def memory(self, spec: DataSpec) -> MeanPrediction:
        """The running mean prediction."""
        return MeanPrediction(spec.num_classes)

    def loss(self, nets: Networks, batch: Batch, memory: MeanPrediction, step: Step) -> Loss:
        """Equations 3 and 4 and the adaptive marginal loss on one step."""
        weak = self.predict_weak(nets, batch, memory)
        confidence, label = confidence_and_label((weak.aligned.log() - self.bias(memory)).softmax(-1))
        mask = above_threshold(confidence, self.threshold)
        memory.update(weak.probs, self.momentum)  # between labels and margins, as in the authors' code
        forward = self.forward_strong(nets, batch, memory, weak, mask)
        strong = forward.strong + self.bias(memory)
        terms = {
            "supervised": self.labeled_term(forward.labeled, batch),
            "unsupervised": self.lambda_u * cross_entropy(strong, label[forward.rows], forward.scale, count=len(mask)),
        }
        return pseudo_label_loss(terms, batch, label, mask)

    def bias(self, memory: MeanPrediction) -> Float[Tensor, "k"]:
        """The running preference for each class, as added to its logit."""
        return self.debiasing * memory.mean.clamp(min=1e-6).log()  # finite for a class that is never predicted
