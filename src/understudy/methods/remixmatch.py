"""ReMixMatch: aligned guesses on the weak view are the targets of several strong views, all of it mixed up."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Annotated, ClassVar

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from understudy.core import distributed
from understudy.core.config import Knob
from understudy.core.types import Batch, DataSpec, Loss, Objective, PseudoLabels, Step
from understudy.functional.alignment import Alignment
from understudy.functional.mixing import MIXES, class_probabilities, mix_with_batch
from understudy.functional.pseudo_labels import sharpen
from understudy.functional.rotation import NUM_TURNS, quarter_turns
from understudy.functional.schedules import ramp_up
from understudy.methods.base import AlignedMemory, Method, register
from understudy.models.nets import Networks


@register
@dataclass(frozen=True, kw_only=True)
class ReMixMatch(Method[AlignedMemory]):
    """ReMixMatch (Berthelot et al., 2020), algorithm 1 and the loss of section 3.3.

    The prediction on the weak view, aligned to the labeled rows' class balance and sharpened, is the target q of K
    strong views and of the weak view (augmentation anchoring); MixUp as in MixMatch gives X' and U'. The first strong
    view is also trained on unmixed, and, rotated by r times 90 degrees, trains a separate head that predicts r.

    L = mean_X' H(p, p(x')) + lambda_u(t) mean_U' H(q, p(u')) + lambda_u1(t) mean_u H(q, p(u_1))
        + lambda_r mean_u H(r, p_r(turn(u_1, r))), where lambda_u(t) and lambda_u1(t) increase linearly.

    Batch norm: all mixed rows share one forward, which updates the running statistics, as the authors' interleaved
    batches do; unmixed and rotated rows share a second, which does not. As in the paper, pseudo-labels are predicted
    in training mode, without gradient.

    Differs from the paper: 2 strong views instead of 8, a third of the cost, as in the implementations whose figures
    are compared to; the running balance of predictions is an exponential mean whose mean age is that of the paper's
    window of 128 batches; weights rise, as in the authors' code, over the first 1/64 of training, supervised first
    phase included; turns are drawn for each row, where the authors' code turns each quarter of the batch alike; strong
    views are RandAugment, not CTAugment, and the labeled view is the run's. A labeled row's weight stays its own when
    it is mixed.

    A step trains on (1 + (K + 3) mu) rows per labeled one, and predicts mu more.
    """

    paper: ClassVar[str] = "Berthelot et al., 2020, https://arxiv.org/abs/1911.09785"
    summary: ClassVar[str] = (
        "Aligned and sharpened predictions as targets of several strong views, MixUp, and rotation prediction."
    )
    use_when: ClassVar[str] = "with few labels, if the pool has the class balance of the labels"
    needs_features: ClassVar[bool] = True
    cost: ClassVar[float | None] = 28.6
    views: ClassVar[tuple[str, ...]] = ("weak", "strong")
    needs_images: ClassVar[bool] = True

    mu: Annotated[int, Knob("unlabeled rows per labeled row", 1, probe=2)] = 1
    num_views: Annotated[int, Knob("K: number of strong views of each unlabeled row", 1, probe=3)] = 2
    lambda_u: Annotated[float, Knob("weight of the loss on mixed unlabeled rows after ramp-up", 0, probe=0.25)] = 1.5
    lambda_u1: Annotated[float, Knob("weight of the loss on one unmixed strong view after ramp-up", 0, probe=4.0)] = 0.5
    lambda_r: Annotated[float, Knob("weight of the rotation loss", 0, probe=4.0)] = 0.5
    ramp_up_end: Annotated[
        float, Knob("share of training after which the weights are fully ramped up", 0, 1, probe=0.9)
    ] = 1 / 64
    temperature: Annotated[
        float, Knob("T: temperature of sharpening; 0 makes the pseudo-labels one-hot", 0, 1, probe=1.0)
    ] = 0.5
    alpha: Annotated[float, Knob("parameter of the Beta distribution; 0 disables mixing", 0, probe=4.0)] = 0.75
    mix: Annotated[str, Knob("how rows are mixed", choices=MIXES)] = "mixup"
    teacher: Annotated[str, Knob("network that predicts the pseudo-labels", choices=("model", "ema"), probe="ema")] = (
        "model"
    )
    alignment: Alignment = field(default_factory=lambda: Alignment(target="labeled", momentum=0.985))

    def unlabeled_batch_size(self, batch_size: int) -> int:
        """Unlabeled rows per step: `mu` times the labeled ones."""
        return self.mu * batch_size

    def networks(self, classifier: nn.Module, spec: DataSpec) -> Networks:
        """The classifier, and a head on its features that tells quarter turns apart."""
        return Networks(model=classifier, rotation=nn.Linear(spec.feature_width, NUM_TURNS))

    def memory(self, spec: DataSpec) -> AlignedMemory:
        """Running class balances, for alignment."""
        return AlignedMemory(spec.num_classes)

    def objectives(self) -> tuple[Objective, ...]:
        """One loss, which trains the rotation head too."""
        return (Objective(self.loss, trains=("model", "rotation")),)

    def loss(self, nets: Networks, batch: Batch, memory: AlignedMemory, step: Step) -> Loss:
        """Algorithm 1 and section 3.3 on one step."""
        labeled, unlabeled = batch.labeled, batch.unlabeled
        weak, strong = unlabeled.view("weak"), [unlabeled.view("strong", draw=k) for k in range(self.num_views)]
        guess = self.guess(nets, weak, batch, memory)
        targets = class_probabilities(labeled.targets, guess.shape[-1])
        mixed, mixed_targets = mix_with_batch(
            [labeled.view(), *strong, weak],
            [targets, *[guess] * (self.num_views + 1)],
            batch.random("mixing"),
            alpha=self.alpha,
            mix=self.mix,
        )
        logits, *logits_u = nets.logits(*mixed)
        self.alignment.observe_labeled(logits.detach().softmax(-1), memory.balance)
        unmixed, turned = self.unmixed_and_turned(nets, strong[0], guess, batch)
        ramp = ramp_up(step.progress, self.ramp_up_end)
        ones = torch.ones(len(guess), device=guess.device)
        return Loss(
            terms={
                "supervised": self.criterion(logits, mixed_targets[0], labeled.weight, labeled.class_counts),
                "unsupervised": self.lambda_u
                * ramp
                * F.cross_entropy(torch.cat(logits_u), torch.cat(mixed_targets[1:])),
                "unmixed": self.lambda_u1 * ramp * unmixed,
                "rotation": self.lambda_r * turned,
            },
            metrics={"mask_ratio": ones.mean(), "confidence": guess.max(-1).values.mean()},
            pseudo_labels=PseudoLabels(unlabeled.ids, guess.argmax(-1), ones),
        )

    @torch.no_grad()
    def guess(
        self, nets: Networks, weak: Float[Tensor, "u ..."], batch: Batch, memory: AlignedMemory
    ) -> Float[Tensor, "u k"]:
        """The aligned and sharpened prediction of each row's weak view."""
        (logits,) = nets.predict_in_training(weak, by=self.teacher)
        return sharpen(self.alignment(logits.softmax(-1), memory.balance, batch.labeled.class_counts), self.temperature)

    def unmixed_and_turned(
        self, nets: Networks, strong: Float[Tensor, "u c s s"], guess: Float[Tensor, "u k"], batch: Batch
    ) -> tuple[Float[Tensor, ""], Float[Tensor, ""]]:
        """The mean cross-entropy of strong views against their guesses, and of their turns against what was turned."""
        count = len(strong) * distributed.world_size()
        drawn = distributed.share(batch.random("rotation").integers(0, NUM_TURNS, count))
        turns = torch.tensor(drawn, device=strong.device)
        with nets.still_statistics():
            (logits, _), (_, features) = nets.logits_and_features(strong, quarter_turns(strong, turns))
        (turn_logits,) = nets.through("rotation", features)
        return F.cross_entropy(logits, guess), F.cross_entropy(turn_logits, turns)
