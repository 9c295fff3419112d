"""AdaMatch: predictions on the pool are aligned to those on labeled rows, and thresholded relative to them."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Annotated, ClassVar

import torch
from jaxtyping import Float, Int
from torch import Tensor

from understudy.core import distributed
from understudy.core.config import Knob
from understudy.core.types import Batch, Loss, Step
from understudy.functional.alignment import Alignment
from understudy.functional.losses import cross_entropy
from understudy.functional.pseudo_labels import above_threshold, confidence_and_label
from understudy.functional.schedules import cosine_ramp_up
from understudy.methods.base import AlignedMemory, WeakToStrong, every_row, pseudo_label_loss, register
from understudy.models.nets import Networks


@register
@dataclass(frozen=True, kw_only=True)
class AdaMatch(WeakToStrong[AlignedMemory]):
    """AdaMatch (Berthelot et al., 2022), section 3, for labeled and unlabeled rows of one domain.

    FixMatch with three changes. Logits of labeled rows are drawn anew for each logit between those of a forward of
    labeled rows alone and those of a forward of labeled and unlabeled rows together (random logit interpolation).
    Predictions on the pool are aligned to the running mean of predictions on labeled rows. An image counts if its
    aligned confidence reaches `threshold` times the mean confidence on the weak labeled views (relative threshold).
    Labeled rows are seen weak and strong, and the unlabeled loss ramps up as 1/2 - cos(min(pi, 2 pi t/T)) / 2.

    Differs from the paper: the labeled predictions that set alignment and threshold come from the network that
    predicts the pool, on the same weak views; with `teacher="concat"` they are the interpolated ones, as in the paper.
    `Alignment(target="running")` in other methods takes the labeled predictions of the training forward, one step
    later. Both running means decay alike, where the authors' code averages the pool's over the last 128 steps. The
    two labeled losses are averaged and the targets are classes, as in the authors' code; the paper adds the losses and
    writes probabilities. `mu` is the authors' for semi-supervised learning. The labeled rows' extra views and forward
    are what the algorithm costs beyond FixMatch; without batch norm the interpolation does nothing.
    """

    paper: ClassVar[str] = "Berthelot et al., 2022, https://arxiv.org/abs/2106.04732"
    summary: ClassVar[str] = "FixMatch with distribution alignment to the labeled images and a relative threshold."
    use_when: ClassVar[str] = "if the pool differs from the labeled images, or classes are imbalanced"
    cost: ClassVar[float | None] = 10.3

    mu: Annotated[int, Knob("unlabeled rows per labeled row", 1, probe=2)] = 3
    threshold: Annotated[
        float, Knob("tau: threshold relative to the mean confidence on labeled rows", 0, 1, probe=0.0)
    ] = 0.9
    ramp_up_end: Annotated[
        float, Knob("share of training after which lambda_u is fully ramped up", 0, 1, probe=0.0)
    ] = 0.5
    alignment: Alignment = field(default_factory=lambda: Alignment(target="running"))

    def loss(self, nets: Networks, batch: Batch, memory: AlignedMemory, step: Step) -> Loss:
        """Section 3.5 on one step."""
        labeled, unlabeled, b = batch.labeled, batch.unlabeled, len(batch.labeled.weight)
        x = torch.cat((labeled.view("weak"), labeled.view("strong")))
        with nets.still_statistics():  # running statistics are those of the joint forward
            (alone,) = nets.logits(x)
        if self.teacher == "concat":
            joint, predicted, strong = nets.logits(x, unlabeled.view("weak"), unlabeled.view("strong"))
            logits = self.interpolated(alone, joint, batch)
            label, mask = self.pseudo_labels(logits[:b], predicted, batch, memory)
            rows, scale = every_row(mask), mask
        else:
            predicted = nets.predict(torch.cat((x[:b], unlabeled.view("weak"))), by=self.teacher)
            label, mask = self.pseudo_labels(predicted[:b], predicted[b:], batch, memory)
            rows, scale = unlabeled.select(mask)
            joint, strong = nets.logits(x, unlabeled.view("strong", rows))
            logits = self.interpolated(alone, joint, batch)
        ramp = cosine_ramp_up(step.progress, self.ramp_up_end)
        terms = {
            "supervised": (self.labeled_term(logits[:b], batch) + self.labeled_term(logits[b:], batch)) / 2,
            "unsupervised": ramp * self.lambda_u * cross_entropy(strong, label[rows], scale, count=len(mask)),
        }
        return pseudo_label_loss(terms, batch, label, mask)

    def interpolated(
        self, alone: Float[Tensor, "n k"], joint: Float[Tensor, "n k"], batch: Batch
    ) -> Float[Tensor, "n k"]:
        """Equation 3: each logit at a place between the two that is drawn for it."""
        half, num_classes = len(alone) // 2, alone.shape[-1]
        shape = (half * distributed.world_size(), 2, num_classes)  # a labeled row's weak view, then its strong one
        draws = distributed.share(batch.random("logit interpolation").random(shape, dtype="float32"))
        place = torch.from_numpy(draws).to(alone.device).transpose(0, 1).reshape(alone.shape)
        return torch.lerp(joint, alone, place)

    @torch.no_grad()
    def pseudo_labels(
        self, labeled: Float[Tensor, "b k"], unlabeled: Float[Tensor, "u k"], batch: Batch, memory: AlignedMemory
    ) -> tuple[Int[Tensor, "u"], Float[Tensor, "u"]]:
        """The class of each unlabeled row after alignment, and 1 where its confidence reaches the relative threshold.

        Args:
            labeled: Logits of the weak labeled views, whose mean confidence the threshold is a share of.
            unlabeled: Logits of the weak unlabeled views.
        """
        probs_labeled = labeled.softmax(-1)
        self.alignment.observe_labeled(probs_labeled, memory.balance)
        aligned = self.alignment(unlabeled.softmax(-1), memory.balance, batch.labeled.class_counts)
        confidence, label = confidence_and_label(aligned)
        level = distributed.mean(confidence_and_label(probs_labeled)[0].mean())
        return label, above_threshold(confidence, self.threshold * level)
