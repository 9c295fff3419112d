"""Barlow Twins: each feature is the same in two views of an image, and tells what no other feature tells."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, ClassVar

from torch import nn

from understudy.core.config import Knob
from understudy.core.types import Batch, DataSpec, Loss, Step
from understudy.functional.contrast import cross_correlation
from understudy.methods.base import Pretext, register
from understudy.models.nets import Networks
from understudy.models.projection import perceptron


@register
@dataclass(frozen=True, kw_only=True)
class BarlowTwins(Pretext[nn.Module]):
    """Barlow Twins (Zbontar et al., 2021), equations 1 and 2. Two strong views are projected to D numbers each.

    L = sum_i (1 - C_ii)^2 + lambda sum_i sum_{j != i} C_ij^2, with C_ij the correlation, over the batch, of number i of
    one view and number j of the other.

    Differs from the paper: the loss is divided by D, so that one learning rate suits all widths (the authors' code
    scales it for its optimizer); D is 1,024 instead of 8,192, which is too costly for a small network; the
    projection's hidden layers are normalized row by row instead of by batch, which is the same however a batch is
    divided. Its outputs are normalized over the global batch, as there. Strong views are those of the images' domain.
    Costs: two strong views of every row are trained on.
    """

    paper: ClassVar[str] = "Zbontar et al., 2021, https://arxiv.org/abs/2103.03230"
    summary: ClassVar[str] = "Pretext: features that agree between two views and are decorrelated from each other."
    use_when: ClassVar[str] = "before another method, with batches too small for simclr"
    views: ClassVar[tuple[str, ...]] = ("strong",)

    redundancy: Annotated[float, Knob("lambda: weight of the redundancy reduction term", 0, probe=0.5)] = 5e-3
    embedding_width: Annotated[int, Knob("D: dimension of the projections", 2, probe=8)] = 1024

    def networks(self, classifier: nn.Module, spec: DataSpec) -> Networks:
        """The classifier, and a projection of its features."""
        width = self.embedding_width
        return Networks(model=classifier, projection=perceptron(spec.feature_width, width, width, width, norm=True))

    def loss(self, nets: Networks, batch: Batch, memory: nn.Module, step: Step) -> Loss:
        """Equations 1 and 2 on one step."""
        unlabeled = batch.unlabeled
        features = self.features(nets, unlabeled.view("strong"), unlabeled.view("strong", draw=1))
        z_first, z_second = nets.through("projection", *features)
        correlation = cross_correlation(z_first, z_second)
        diagonal = correlation.diagonal()
        between = (correlation.square().sum() - diagonal.square().sum()) / len(diagonal)
        return Loss(
            {"invariance": (1 - diagonal).square().mean(), "redundancy": self.redundancy * between},
            {"correlation": diagonal.mean().detach()},
        )
