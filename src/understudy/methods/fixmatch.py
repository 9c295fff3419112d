"""FixMatch: a confident prediction on the weak view labels the strong view."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, ClassVar

from understudy.core.config import Knob
from understudy.core.types import Batch, Loss, Step
from understudy.functional.pseudo_labels import above_threshold, confidence_and_label
from understudy.methods.base import AlignedMemory, WeakToStrong, register
from understudy.models.nets import Networks


@register
@dataclass(frozen=True, kw_only=True)
class FixMatch(WeakToStrong[AlignedMemory]):
    """FixMatch (Sohn et al., 2020), algorithm 1, equations 3 and 4.

    L = H(y_b, p(weak(x_b))) + lambda_u mean_u 1(max q_u >= tau) H(argmax q_u, p(strong(u))), with q_u = p(weak(u)).
    """

    paper: ClassVar[str] = "Sohn et al., 2020, https://arxiv.org/abs/2001.07685"
    summary: ClassVar[str] = "The confident pseudo-label of the weak view is the target of the strong view."
    use_when: ClassVar[str] = "from about 25 labels per class on, and as the reference of its family"
    cost: ClassVar[float | None] = 7.3

    threshold: Annotated[float, Knob("tau: minimum confidence of a pseudo-label", 0, 1, probe=0.0)] = 0.95

    def loss(self, nets: Networks, batch: Batch, memory: AlignedMemory, step: Step) -> Loss:
        """Equations 3 and 4 on one step."""
        weak = self.predict_weak(nets, batch, memory)
        confidence, label = confidence_and_label(weak.aligned)
        mask = above_threshold(confidence, self.threshold)
        return self.learn_strong(nets, batch, memory, weak, label, mask)
