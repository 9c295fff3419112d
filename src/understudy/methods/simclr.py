"""SimCLR: of all images in a batch, two views of the same one are to be nearest."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, ClassVar

from torch import nn

from understudy.core.config import Knob
from understudy.core.types import Batch, DataSpec, Loss, Step
from understudy.functional.contrast import nt_xent
from understudy.methods.base import Pretext, register
from understudy.models.nets import Networks
from understudy.models.projection import perceptron


@register
@dataclass(frozen=True, kw_only=True)
class SimCLR(Pretext[nn.Module]):
    """SimCLR (Chen et al., 2020), equation 1. Two strong views of each of N images are projected to z_1 ... z_2N.

    L = mean over both directions of all N pairs (i, j) of l(i, j) = -log exp(s_ij / tau) / sum_{k != i} exp(s_ik /
    tau), with s the cosine of two projections.

    Differs from the paper: strong views are those of the images' domain instead of crops and color distortion; N is
    `mu` times the labeled batch instead of thousands; further copies of an image, which a small pool brings into one
    batch, are not its negatives; the optimizer is the run's own instead of LARS. As in the paper's text, and unlike
    the authors' code, the projection has no batch norm. Costs: two strong views of every row are trained on.
    """

    paper: ClassVar[str] = "Chen et al., 2020, https://arxiv.org/abs/2002.05709"
    summary: ClassVar[str] = "Pretext: identify another view of the same image among all images of the batch."
    use_when: ClassVar[str] = "before another method, with a pool large enough for batches of different images"
    views: ClassVar[tuple[str, ...]] = ("strong",)

    temperature: Annotated[float, Knob("tau: temperature of the contrastive loss", 0.01, probe=0.1)] = 0.5
    embedding_width: Annotated[int, Knob("dimension of the projections", 1, probe=8)] = 128

    def networks(self, classifier: nn.Module, spec: DataSpec) -> Networks:
        """The classifier, and a projection of its features."""
        width = spec.feature_width
        return Networks(model=classifier, projection=perceptron(width, width, self.embedding_width))

    def loss(self, nets: Networks, batch: Batch, memory: nn.Module, step: Step) -> Loss:
        """Equation 1 on one step."""
        unlabeled = batch.unlabeled
        features = self.features(nets, unlabeled.view("strong"), unlabeled.view("strong", draw=1))
        z_first, z_second = nets.through("projection", *features)
        contrast, nearest = nt_xent(z_first, z_second, unlabeled.ids, self.temperature)
        return Loss({"contrastive": contrast}, {"partner_nearest": nearest})
