"""ShrinkMatch: where the network is unsure, it learns its likeliest class against the classes it does not confuse."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Annotated, ClassVar

import torch
from jaxtyping import Float
from torch import Tensor, nn

from understudy.core import distributed
from understudy.core.config import Knob
from understudy.core.types import Batch, DataSpec, Loss, Objective, Step
from understudy.functional.alignment import Alignment
from understudy.functional.losses import cross_entropy
from understudy.functional.pseudo_labels import above_threshold
from understudy.functional.schedules import ema_decay_of
from understudy.functional.shrinking import cross_entropy_within, shrunk_classes
from understudy.methods.base import AlignedMemory, pseudo_label_loss, register
from understudy.methods.base_features import OnFeatures
from understudy.models.nets import Networks
from understudy.models.projection import perceptron


class CertainShare(AlignedMemory):
    """The class balances, and the running share of rows that are certain."""

    updates: Float[Tensor, ""]
    share: Float[Tensor, ""]

    def __init__(self, num_classes: int) -> None:
        super().__init__(num_classes)
        self.register_buffer("updates", torch.tensor(0.0))
        self.register_buffer("share", torch.tensor(0.0))

    def update(self, certain: Float[Tensor, "u"], momentum: float) -> Float[Tensor, ""]:
        """The running share after it took in these rows of all processes; a copy, since the buffer moves on."""
        keep = ema_decay_of(self.updates, momentum) * (self.updates > 0)
        self.updates.add_(1)
        self.share.lerp_(distributed.mean(certain.mean()), 1 - keep)
        return self.share.clone()


@register
@dataclass(frozen=True, kw_only=True)
class ShrinkMatch(OnFeatures[CertainShare]):
    """ShrinkMatch (Yang et al., 2023), section 3.

    An image is certain where max p >= tau, with p its aligned prediction on the weak view; its target is then p. For
    an uncertain one the second likeliest class and those after it are removed until the likeliest has tau of what is
    left; its strong view learns, by a head g of its own on the features, the likeliest class among the classes left:

    L = H(y_b, p(x_b)) + lambda_u mean_u 1(max p >= tau) H(p, p(strong(u)))
        + r mean_u 1(max p < tau) max p H(argmax p, g(strong(u)) among what is left),

    where an uncertain image weighs max p (the paper's first principle) and r is the running share of certain images
    (its second). An image for which no two classes would be left is skipped; with two classes all uncertain ones are.

    Differs from the paper: the head has layer norm in place of batch norm, as which rows pass through it depends on
    what the teacher says; r starts as the mean of the run so far, where the authors' code starts it anew from the
    first batch of every epoch. Removing classes is done for all images at once, at no cost to speak of. Aligned to a
    uniform balance whose mean age is the authors' 32 batches'.
    Costs: a strong view is trained on where its image is certain or can be shrunk, so nearly all are.
    """

    paper: ClassVar[str] = "Yang et al., 2023, https://arxiv.org/abs/2308.06777"
    summary: ClassVar[str] = (
        "FixMatch that trains uncertain images on the classes left after the confused ones are removed."
    )
    use_when: ClassVar[str] = "with few labels and many similar classes"
    cost: ClassVar[float | None] = 7.9

    threshold: Annotated[float, Knob("tau: confidence from which an image counts as certain", 0, 1, probe=0.7)] = 0.95
    momentum: Annotated[float, Knob("decay of the share of certain images", 0, 1, probe=0.2)] = 0.999
    alignment: Alignment = field(default_factory=lambda: Alignment(target="uniform", momentum=0.94))

    def networks(self, classifier: nn.Module, spec: DataSpec) -> Networks:
        """The classifier, and a second head on its features for uncertain images."""
        hidden = max(1, spec.feature_width // 4)  # a choice without a benchmark: small beside the body
        head = perceptron(spec.feature_width, hidden, hidden, spec.num_classes, norm=True)
        return Networks(model=classifier, auxiliary=head)

    def memory(self, spec: DataSpec) -> CertainShare:
        """Class balances and the share of certain rows."""
        return CertainShare(spec.num_classes)

    def objectives(self) -> tuple[Objective, ...]:
        """One loss, which trains the second head too."""
        return (Objective(self.loss, trains=("model", "auxiliary")),)

    def loss(self, nets: Networks, batch: Batch, memory: CertainShare, step: Step) -> Loss:
        """The loss of section 3 on one step."""
        weak = self.predict_weak_with_features(nets, batch, memory)
        targets, confidence = weak.aligned, weak.aligned.max(-1).values
        classes = shrunk_classes(targets, self.threshold)
        certain = above_threshold(confidence, self.threshold)
        shrinkable = classes.sum(-1) > 1
        weight = torch.where(certain > 0, 1.0, torch.where(shrinkable, confidence, 0.0))
        forward = self.forward_strong_with_features(nets, batch, memory, weak, weight)
        rows, scale = forward.rows, forward.scale
        (logits,) = nets.through("auxiliary", forward.features)
        losses = scale * (1 - certain[rows]) * cross_entropy_within(logits, targets[rows], classes[rows])
        share = memory.update(certain, self.momentum)
        unsupervised = cross_entropy(forward.strong, targets[rows], scale * certain[rows], count=len(targets))
        terms = {
            "supervised": self.labeled_term(forward.labeled, batch),
            "shrunk": share * losses.sum() / len(targets),
            "unsupervised": self.lambda_u * unsupervised,
        }
        return pseudo_label_loss(terms, batch, targets, certain, trained_ratio=(weight > 0).float().mean())
