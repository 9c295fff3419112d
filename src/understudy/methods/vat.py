"""Virtual adversarial training: the prediction should stand the small change of the input that moves it most."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, ClassVar

import torch
from jaxtyping import Float
from torch import Tensor, nn

from understudy.core import distributed
from understudy.core.config import Knob
from understudy.core.types import Batch, Loss, PseudoLabels, Step
from understudy.functional.adversarial import adversarial_direction, deviation, kl_divergence
from understudy.methods.base import Method, register
from understudy.models.nets import Networks


@register
@dataclass(frozen=True, kw_only=True)
class VAT(Method[nn.Module]):
    """VAT with entropy minimization (Miyato et al., 2018), equations 5 to 8 and 11 to 16.

    A power iteration finds, for each image, the small perturbation r that changes the prediction most; the divergence
    from the clean prediction to the perturbed one is a loss, and so is the entropy of the clean one.

    L = mean_b H(y_b, p(x_b)) + lambda_u mean_u KL[p(u) held fixed, p(u + r_u)] + lambda_entropy mean_u H(p(u)), with
    r = epsilon d, where d starts as Gaussian noise, becomes K times the gradient of KL[p(u), p(u + r)] at r = xi d, and
    is scaled to unit length after each.

    As in the authors' code, the clean and the perturbed unlabeled rows pass in training mode by themselves, so that
    both are normalized alike, and only labeled rows move the running statistics of batch norm; there is no ramp-up.

    Differs from the paper: lengths are root mean squares over a row's values, in the standard deviations that their
    channel or feature has in the batch, so that they mean the same at any size and scale of the input. `epsilon` is the
    authors' norm of 8 for the 3,072 values of a whitened CIFAR-10 image. Their xi of 1e-6 would leave rounding errors
    of bfloat16 alone, so it is larger. Weights are the paper's (Oliver et al., 2018: 0.3 and 0.06). Per labeled row, a
    step trains on (1 + 2 mu) rows and takes K mu more through the network and back.
    """

    paper: ClassVar[str] = "Miyato et al., 2018, https://arxiv.org/abs/1704.03976"
    summary: ClassVar[str] = "Keep the prediction under the worst small perturbation, and minimize its entropy."
    use_when: ClassVar[str] = "if suitable augmentations are unknown; also for feature vectors"
    cost: ClassVar[float | None] = 16.1
    views: ClassVar[tuple[str, ...]] = ("weak",)

    mu: Annotated[int, Knob("unlabeled rows per labeled row", 1, probe=2)] = 4
    lambda_u: Annotated[float, Knob("weight of the consistency loss (divergence)", 0, probe=0.25)] = 1.0
    lambda_entropy: Annotated[float, Knob("weight of the entropy of unlabeled predictions", 0, probe=0.25)] = 1.0
    epsilon: Annotated[float, Knob("size of the perturbation in standard deviations of the input", 0, probe=0.5)] = (
        0.144
    )
    xi: Annotated[float, Knob("step size of the power iteration, in the same unit as epsilon", 1e-6, probe=0.3)] = 0.03
    num_power_iterations: Annotated[
        int, Knob("K: number of power iterations; 0 makes the perturbation random", 0, probe=2)
    ] = 1

    def unlabeled_batch_size(self, batch_size: int) -> int:
        """Unlabeled rows per step: `mu` times the labeled ones."""
        return self.mu * batch_size

    def loss(self, nets: Networks, batch: Batch, memory: nn.Module, step: Step) -> Loss:
        """Equation 8 with the entropy term, on one step."""
        unlabeled = batch.unlabeled
        (logits,) = nets.logits(batch.labeled.view())
        with nets.still_statistics():
            x = unlabeled.view("weak")
            (clean,) = nets.logits(x)
            target = clean.detach()
            (perturbed,) = nets.logits(x + self.perturbation(nets, x, target, batch))
        entropy = -(clean.softmax(-1) * clean.log_softmax(-1)).sum(-1).mean()
        ones = torch.ones(len(target), device=target.device)
        return Loss(
            terms={
                "supervised": self.labeled_term(logits, batch),
                "unsupervised": self.lambda_u * kl_divergence(target, perturbed).mean(),
                "entropy": self.lambda_entropy * entropy,
            },
            metrics={"mask_ratio": ones.mean()},
            pseudo_labels=PseudoLabels(unlabeled.ids, target.argmax(-1), ones),
        )

    def perturbation(
        self, nets: Networks, x: Float[Tensor, "u ..."], target: Float[Tensor, "u k"], batch: Batch
    ) -> Float[Tensor, "u ..."]:
        """The step from each row, of size `epsilon`, that moves the prediction away from the target (equation 15)."""
        scale = deviation(x)

        def divergence(step: Float[Tensor, "u ..."]) -> Float[Tensor, "u"]:
            (logits,) = nets.logits(x + scale * step)
            return kl_divergence(target, logits)

        shape = (len(x) * distributed.world_size(), *x.shape[1:])
        noise = distributed.share(batch.random("perturbation").standard_normal(shape, dtype="float32"))
        direction = adversarial_direction(
            divergence, torch.from_numpy(noise).to(x.device), xi=self.xi, num_iterations=self.num_power_iterations
        )
        return self.epsilon * scale * direction
