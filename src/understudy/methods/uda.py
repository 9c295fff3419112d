"""UDA: the sharpened prediction on the weak view is the target of the strong view, where it is confident."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, ClassVar

from jaxtyping import Float
from torch import Tensor

from understudy.core import distributed
from understudy.core.config import Knob
from understudy.core.types import Batch, Labeled, Loss, Step
from understudy.functional.losses import cross_entropy
from understudy.functional.pseudo_labels import above_threshold, confidence_and_label, sharpen
from understudy.functional.thresholds import ANNEALINGS, annealed
from understudy.methods.base import AlignedMemory, WeakToStrong, pseudo_label_loss, register
from understudy.models.nets import Networks


@register
@dataclass(frozen=True, kw_only=True)
class UDA(WeakToStrong[AlignedMemory]):
    """UDA (Xie et al., 2020), equation 1 with the sharpening and masking of section 2.3 and signal annealing.

    L = H(y_b, p(weak(x_b))) + lambda_u mean_u 1(max p(weak(u)) >= beta) H(sharp(u), p(strong(u))), where sharp(u) is
    proportional to p(weak(u))^(1 / `temperature`) and beta is `threshold`. Training signal annealing leaves out
    labeled rows whose true class already has a probability above eta_t = alpha_t (1 - 1/k) + 1/k, and takes the mean
    over the others; alpha_t is t/T, 1 - exp(-5 t/T) or exp(5 (t/T - 1)) for `linear`, `log` and `exp`.

    Differs from the paper: t/T counts the supervised first phase, which is not annealed, so that it is the baseline's.
    The authors' code has the divergence from the target in place of the cross-entropy, whose gradient is the same, and
    anneals CIFAR-10 in its script for many devices only; here annealing is off unless asked for.
    """

    paper: ClassVar[str] = "Xie et al., 2020, https://arxiv.org/abs/1904.12848"
    summary: ClassVar[str] = (
        "The sharpened, confident prediction of the weak view is the soft target of the strong view."
    )
    use_when: ClassVar[str] = "if classes overlap, so that soft targets contain more information than classes"
    cost: ClassVar[float | None] = 8.0

    threshold: Annotated[float, Knob("tau: minimum confidence of a pseudo-label", 0, 1, probe=0.0)] = 0.8
    temperature: Annotated[
        float, Knob("temperature of sharpening: 1 leaves the targets unchanged, 0 makes them one-hot", 0, probe=2.0)
    ] = 0.4
    signal_annealing: Annotated[str, Knob("schedule of training signal annealing", choices=ANNEALINGS)] = "none"

    def loss(self, nets: Networks, batch: Batch, memory: AlignedMemory, step: Step) -> Loss:
        """Equation 1 on one step."""
        weak = self.predict_weak(nets, batch, memory)
        confidence, _ = confidence_and_label(weak.aligned)  # before sharpening
        mask = above_threshold(confidence, self.threshold)
        targets = sharpen(weak.aligned, self.temperature)
        forward = self.forward_strong(nets, batch, memory, weak, mask)
        annealing = self.annealing(forward.labeled.detach(), batch.labeled, step)
        unsupervised = cross_entropy(forward.strong, targets[forward.rows], forward.scale, count=len(mask))
        terms = {
            "supervised": self.labeled_term(forward.labeled, batch, annealing),
            "unsupervised": self.lambda_u * unsupervised,
        }
        return pseudo_label_loss(terms, batch, targets, mask)

    def annealing(self, logits: Float[Tensor, "b k"], labeled: Labeled, step: Step) -> Float[Tensor, "b"]:
        """Weight of each labeled row: 0 where its class is known too well for now, else alike with mean 1."""
        targets = labeled.targets if labeled.targets.ndim == 1 else labeled.targets.argmax(-1)
        probs = logits.softmax(-1).gather(1, targets[:, None]).squeeze(1)
        kept = (probs <= annealed(step.progress, self.signal_annealing, logits.shape[-1])).to(logits.dtype)
        one_row = 1 / (len(kept) * distributed.world_size())  # where no row is kept, the result is 0 and not 0 / 0
        return kept / distributed.mean(kept.mean()).clamp(min=one_row)
