"""MixMatch: sharpened guesses on several weak views, and MixUp of everything with everything."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, ClassVar

import torch
from jaxtyping import Float
from torch import Tensor, nn

from understudy.core.config import Knob
from understudy.core.errors import ConfigError
from understudy.core.types import Batch, DataSpec, Loss, PseudoLabels, Step
from understudy.functional.mixing import MIXES, class_probabilities, mix_with_batch
from understudy.functional.pseudo_labels import sharpen
from understudy.functional.schedules import ramp_up
from understudy.methods.base import Method, register
from understudy.models.nets import Networks


@register
@dataclass(frozen=True, kw_only=True)
class MixMatch(Method[nn.Module]):
    """MixMatch (Berthelot et al., 2019), algorithm 1 and equations 2 to 5.

    The predictions on K weak views of an image are averaged and sharpened to the pseudo-label
    q = Sharpen(mean_k p(u_k), T). MixUp then mixes every labeled and unlabeled row with a random row of both,
    x' = l x_1 + (1 - l) x_2 with l = max(l', 1 - l') and l' ~ Beta(alpha, alpha) per row, which gives X' and U';
    labels are mixed with the same l.

    L = mean_X' H(p, p(x')) + lambda_u(t) mean_U' |q - p(u')|^2 / k, over k classes; lambda_u(t) increases linearly.

    Batch norm: the authors run 1 + K forwards over interleaved batches, each with the same proportion of labeled and
    unlabeled rows, and the first updates the running statistics. Here all mixed rows share one forward, so labeled and
    unlabeled rows are normalized by the same batch statistics, which also update the running statistics. In a separate
    forward for labeled rows, the statistics would come from a handful of images, and few labels would make them worse.

    Pseudo-labels are predicted in training mode (normalized by batch statistics) without gradient, as in the paper.
    Predicting in evaluation mode, as the *Match methods do, does not work here: on digits with 20 labels most
    pseudo-labels were wrong.

    Differs from the paper: the ramp ends at a share of training that includes the supervised first phase (the authors'
    16,384 of 2^20 steps are 1/64, which ends before the first phase of a short run); the labeled view is that of the
    run. A labeled row keeps its weight when mixed. `mix="cutmix"` pastes a box of the other row instead.

    A step trains on (1 + K mu) rows per labeled row and predicts K mu more.
    """

    paper: ClassVar[str] = "Berthelot et al., 2019, https://arxiv.org/abs/1905.02249"
    summary: ClassVar[str] = "Sharpened average predictions of several weak views, mixed up with the labeled rows."
    use_when: ClassVar[str] = "without strong augmentation, also for feature vectors, from 25 labels per class on"
    cost: ClassVar[float | None] = 14.9
    views: ClassVar[tuple[str, ...]] = ("weak",)

    mu: Annotated[int, Knob("unlabeled rows per labeled row", 1, probe=2)] = 1
    num_views: Annotated[int, Knob("K: number of weak views of each unlabeled row", 1, probe=3)] = 2
    lambda_u: Annotated[float, Knob("weight of the unlabeled loss after ramp-up", 0, probe=5.0)] = 75.0
    ramp_up_end: Annotated[
        float, Knob("share of training after which the weight is fully ramped up", 0, 1, probe=0.9)
    ] = 0.4
    temperature: Annotated[
        float, Knob("T: temperature of sharpening; 0 makes the pseudo-labels one-hot", 0, 1, probe=1.0)
    ] = 0.5
    alpha: Annotated[float, Knob("parameter of the Beta distribution; 0 disables mixing", 0, probe=4.0)] = 0.75
    mix: Annotated[str, Knob("how rows are mixed; cutmix needs images", choices=MIXES)] = "mixup"
    teacher: Annotated[str, Knob("network that predicts the pseudo-labels", choices=("model", "ema"), probe="ema")] = (
        "model"
    )

    def unlabeled_batch_size(self, batch_size: int) -> int:
        """Unlabeled rows per step: `mu` times the labeled ones."""
        return self.mu * batch_size

    def memory(self, spec: DataSpec) -> nn.Module:
        """An empty module: nothing is remembered between steps.

        Raises:
            ConfigError: `mix` is `cutmix`, and the rows are not images.
        """
        if self.mix == "cutmix" and len(spec.shape) != 3:
            raise ConfigError(
                f"mixmatch.mix is 'cutmix', which pastes parts of images, and these rows of shape {spec.shape} are "
                "not images; choose mixup"
            )
        return nn.Module()

    def loss(self, nets: Networks, batch: Batch, memory: nn.Module, step: Step) -> Loss:
        """Equations 3 to 5 on one step."""
        labeled, unlabeled = batch.labeled, batch.unlabeled
        views = [unlabeled.view("weak", draw=number) for number in range(self.num_views)]
        guess = self.guess(nets, views)
        targets = class_probabilities(labeled.targets, guess.shape[-1])
        mixed, mixed_targets = mix_with_batch(
            [labeled.view(), *views],
            [targets, *[guess] * self.num_views],
            batch.random("mixing"),
            alpha=self.alpha,
            mix=self.mix,
        )
        logits, *logits_u = nets.logits(*mixed)
        squared = (torch.cat(logits_u).softmax(-1) - torch.cat(mixed_targets[1:])).square().mean()
        weight = self.lambda_u * ramp_up(step.progress, self.ramp_up_end)
        ones = torch.ones(len(guess), device=guess.device)
        return Loss(
            terms={
                "supervised": self.criterion(logits, mixed_targets[0], labeled.weight, labeled.class_counts),
                "unsupervised": weight * squared,
            },
            metrics={"mask_ratio": ones.mean(), "confidence": guess.max(-1).values.mean()},
            pseudo_labels=PseudoLabels(unlabeled.ids, guess.argmax(-1), ones),
        )

    @torch.no_grad()
    def guess(self, nets: Networks, views: Sequence[Float[Tensor, "u ..."]]) -> Float[Tensor, "u k"]:
        """The sharpened mean prediction of each row's views (equations 6 and 7)."""
        predictions = nets.predict_in_training(*views, by=self.teacher)
        mean = torch.stack([logits.softmax(-1) for logits in predictions]).mean(0)
        return sharpen(mean, self.temperature)
