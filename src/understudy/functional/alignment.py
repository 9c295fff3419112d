"""Distribution alignment: predictions on the pool, rescaled so that on average they have a wanted class balance."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

import torch
from jaxtyping import Float
from torch import Tensor, nn

from understudy.core import distributed
from understudy.core.config import Config, Knob
from understudy.functional.pseudo_labels import align
from understudy.functional.schedules import ema_decay_of


class ClassBalance(nn.Module):
    """Running class balance of predictions on the pool and on labeled rows, and the estimated balance of the pool."""

    updates: Float[Tensor, ""]
    labeled_updates: Float[Tensor, ""]
    unlabeled: Float[Tensor, "k"]
    labeled: Float[Tensor, "k"]
    estimate: Float[Tensor, "k"]

    def __init__(self, num_classes: int) -> None:
        super().__init__()
        for name in ("updates", "labeled_updates"):
            self.register_buffer(name, torch.tensor(0.0))
        for name in ("unlabeled", "labeled", "estimate"):
            self.register_buffer(name, torch.full((num_classes,), 1.0 / num_classes))


@dataclass(frozen=True, kw_only=True)
class Alignment(Config):
    """Predictions q become normalize(q target / running mean of q) (ReMixMatch, section 3.1; AdaMatch, section 3.2).

    The target is `uniform`; the `labeled` rows' class counts; the `running` mean of predictions on labeled rows; or the
    pool's balance as `estimated` from predictions by Saerens et al. (2002, Neural Computation 14, equation 2.9), an
    expectation-maximization step per batch. Aligning to labeled counts is right only where the pool is balanced alike.
    """

    target: Annotated[
        str,
        Knob(
            "class distribution to which predictions are aligned",
            choices=("none", "uniform", "labeled", "running", "estimated"),
        ),
    ] = "none"
    momentum: Annotated[float, Knob("decay of the running means; ramps up as (1 + t) / (10 + t)", 0, 1, probe=0.2)] = (
        0.999
    )

    def __call__(
        self,
        probs: Float[Tensor, "u k"],
        balance: ClassBalance,
        class_counts: Float[Tensor, "k"],
    ) -> Float[Tensor, "u k"]:
        """The aligned predictions, after the running means took in these rows of all processes."""
        if self.target == "none":
            return probs
        labeled = class_counts.clamp(min=1)  # divided by zero, a class without labels would take over
        labeled = labeled / labeled.sum()
        keep = ema_decay_of(balance.updates, self.momentum)
        balance.updates.add_(1)
        balance.unlabeled.lerp_(distributed.mean(probs.mean(0)), 1 - keep)
        if self.target == "estimated":
            posterior = align(probs, balance.estimate, labeled)
            balance.estimate.lerp_(distributed.mean(posterior.mean(0)), 1 - keep)
        targets = {"labeled": labeled, "running": balance.labeled, "estimated": balance.estimate}
        target = targets.get(self.target, torch.full_like(labeled, 1 / len(labeled)))
        return align(probs, target, balance.unlabeled)

    @torch.no_grad()
    def observe_labeled(self, probs: Float[Tensor, "b k"], balance: ClassBalance) -> None:
        """Take predictions on labeled rows into their running mean, where the target is that mean."""
        if self.target == "running":
            keep = ema_decay_of(balance.labeled_updates, self.momentum)
            balance.labeled_updates.add_(1)
            balance.labeled.lerp_(distributed.mean(probs.mean(0)), 1 - keep)
