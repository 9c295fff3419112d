"""What a labeled row costs: cross-entropy and its noise-robust relatives, weighted or adjusted for rare classes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Any, ClassVar

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor

from understudy.core.config import Config, Knob
from understudy.core.registry import Registry

CRITERIA: Registry[Any] = Registry("criterion", __name__)


@dataclass(frozen=True, kw_only=True)
class Criterion(Config):
    """The loss of labeled rows, a component of every method.

    Class weights: `inverse` is n / (k n_y), `effective` is proportional to (1 - b) / (1 - b^n_y) with b = 1 - 1 / n
    (Cui et al., 2019, https://arxiv.org/abs/1901.05555, equation 2); both average 1 over the labeled rows. Logit
    adjustment adds tau log(n_y / n) to the logits of the loss, so that the network's own logits rank the classes as if
    they were equally common (Menon et al., 2021, https://arxiv.org/abs/2007.07314, equation 10).
    """

    variants: ClassVar[Registry[Any] | None] = CRITERIA

    label_smoothing: Annotated[
        float, Knob("label smoothing: probability mass spread evenly over all classes", 0, 1, probe=0.3)
    ] = 0.0
    class_weights: Annotated[
        str,
        Knob(
            "class weights of the loss: none, inverse frequency or effective number",
            choices=("none", "inverse", "effective"),
        ),
    ] = "none"
    logit_adjustment: Annotated[
        float, Knob("tau: strength of logit adjustment for class imbalance; 0 disables it", 0, probe=2.0)
    ] = 0.0

    def __call__(
        self,
        logits: Float[Tensor, "b k"],
        targets: Int[Tensor, "b"] | Float[Tensor, "b k"],
        weight: Float[Tensor, "b"],
        class_counts: Float[Tensor, "k"],
    ) -> Float[Tensor, ""]:
        """The weighted mean of the rows' losses.

        Args:
            targets: Class of each row, or its class probabilities.
            class_counts: Labeled training rows per class.
        """
        if targets.ndim == 1:
            targets = F.one_hot(targets, logits.shape[-1]).to(logits.dtype)
        if self.class_weights != "none":
            weight = weight * (targets @ balancing_weights(class_counts, self.class_weights))
        if self.logit_adjustment:
            # A class without labels is adjusted as one with a single label: log 0 would remove it from the loss.
            share = class_counts.clamp(min=1) / class_counts.sum()
            logits = logits + self.logit_adjustment * share.log()
        if self.label_smoothing:
            targets = (1 - self.label_smoothing) * targets + self.label_smoothing / logits.shape[-1]
        return (weight * self.rows(logits, targets)).mean()

    def rows(self, logits: Float[Tensor, "n k"], targets: Float[Tensor, "n k"]) -> Float[Tensor, "n"]:
        """The loss of each row against its class probabilities."""
        raise NotImplementedError


def balancing_weights(class_counts: Float[Tensor, "k"], scheme: str) -> Float[Tensor, "k"]:
    """Weight of each class, `inverse` or `effective` as in `Criterion`; their mean over all labeled rows is 1."""
    total = class_counts.sum()
    if scheme == "inverse":
        weights = 1 / class_counts.clamp(min=1)
    else:
        base = (1 - 1 / total).double()  # in float32, 1 - base^n loses its digits where n is small beside the total
        weights = ((1 - base) / (1 - base ** class_counts.clamp(min=1))).to(class_counts.dtype)
    return weights * total / (weights * class_counts).sum()


@CRITERIA.register("cross_entropy")
@dataclass(frozen=True, kw_only=True)
class CrossEntropy(Criterion):
    """H(y, p) = -sum_k y_k log p_k."""

    def rows(self, logits: Float[Tensor, "n k"], targets: Float[Tensor, "n k"]) -> Float[Tensor, "n"]:
        """Cross-entropy of each row."""
        return F.cross_entropy(logits, targets, reduction="none")


@CRITERIA.register("symmetric")
@dataclass(frozen=True, kw_only=True)
class SymmetricCrossEntropy(Criterion):
    """alpha H(y, p) + beta H(p, y) with log 0 = A (Wang et al., 2019, https://arxiv.org/abs/1908.06112, equation 6).

    The reverse term is bounded, so a wrong label cannot pull without end. Defaults are the paper's for CIFAR-10.
    """

    alpha: Annotated[float, Knob("weight of the cross-entropy", 0, probe=2.0)] = 0.1
    beta: Annotated[float, Knob("weight of the reverse cross-entropy", 0, probe=0.1)] = 1.0
    log_of_zero: Annotated[float, Knob("A: value used for log 0", None, 0, probe=-8.0)] = -4.0

    def rows(self, logits: Float[Tensor, "n k"], targets: Float[Tensor, "n k"]) -> Float[Tensor, "n"]:
        """Equation 6 on each row."""
        log_targets = targets.log().clamp(min=self.log_of_zero)
        reverse = -(logits.softmax(-1) * log_targets).sum(-1)
        return self.alpha * F.cross_entropy(logits, targets, reduction="none") + self.beta * reverse


@CRITERIA.register("generalized")
@dataclass(frozen=True, kw_only=True)
class GeneralizedCrossEntropy(Criterion):
    """(1 - p_y^q) / q (Zhang and Sabuncu, 2018, https://arxiv.org/abs/1805.07836, equation 6).

    Between cross-entropy (q to 0) and mean absolute error (q = 1): the larger q, the less a wrong label pulls.
    """

    q: Annotated[
        float,
        Knob("exponent of the true class's probability; larger is more robust to wrong labels", 0.01, 1, probe=0.2),
    ] = 0.7

    def rows(self, logits: Float[Tensor, "n k"], targets: Float[Tensor, "n k"]) -> Float[Tensor, "n"]:
        """Equation 6 on each row; for probabilities as targets, its mean under them."""
        powers = torch.exp(self.q * logits.log_softmax(-1))
        return (targets * (1 - powers)).sum(-1) / self.q
