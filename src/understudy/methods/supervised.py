"""Supervised learning: the labeled images alone, the baseline everything else is measured against."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from torch import nn

from understudy.core.types import Batch, Loss, Step
from understudy.methods.base import Method, register
from understudy.models.nets import Networks


@register
@dataclass(frozen=True, kw_only=True)
class Supervised(Method[nn.Module]):
    """Cross-entropy on the labeled images: L = mean_b w_b H(y_b, p(x_b))."""

    paper: ClassVar[str] = "none: the textbook baseline"
    summary: ClassVar[str] = "Train on the labeled images only."
    use_when: ClassVar[str] = "as the baseline, and if every image is labeled"
    cost: ClassVar[float | None] = 1.0

    def loss(self, nets: Networks, batch: Batch, memory: nn.Module, step: Step) -> Loss:
        """The labeled term alone."""
        return self.supervised_loss(nets, batch)
