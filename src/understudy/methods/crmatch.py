"""CR-Match: both views get one class, while their features stay apart enough to tell how the image was changed."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, ClassVar

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from understudy.core.config import Knob
from understudy.core.types import Batch, DataSpec, Loss, Objective, Step
from understudy.functional.losses import cross_entropy
from understudy.functional.pseudo_labels import above_threshold, confidence_and_label
from understudy.functional.rotation import NUM_TURNS, every_quarter_turn
from understudy.methods.base import AlignedMemory, pseudo_label_loss, register
from understudy.methods.base_features import OnFeatures
from understudy.models.nets import Networks
from understudy.models.projection import perceptron


@register
@dataclass(frozen=True, kw_only=True)
class CRMatch(OnFeatures[AlignedMemory]):
    """CR-Match (Fan et al., 2021), section 3: FixMatch with a distance between features and a task of rotation.

    If q = p(weak(u)) is confident, its class is the target of the strong view, as in FixMatch, and a linear projection
    z of the features is trained to differ between the two views. A head r on the features predicts by which multiple
    of 90 degrees a weak view was rotated, for all four rotations of each image:

    L = H(y_b, p(x_b)) + lambda_u mean_u m_u H(argmax q, p(strong(u))) + lambda_d mean_u m_u max(0, cos(z(weak(u)),
    z(strong(u)))) + lambda_r mean_v,k H(k, r(turn(v, k))), with m_u = 1(max q >= tau).

    Differs from the paper: the first author's code, which we follow in the clipping at 0 and in the number of turned
    images (one for each labeled row, times four), projects the feature map before it is pooled, and we the pooled
    features, which every network has. By default q and z(weak(u)) are of the averaged weights' features, so that the
    distance moves the network by the strong view alone; under `teacher="concat"` it moves by both, as in that code.
    Turned images have a forward of their own, which leaves batch norm's running statistics: in one forward with the
    few strong views that count at first, they would be most of what the statistics describe.
    Costs: four turned images per labeled one beside FixMatch's rows.
    """

    paper: ClassVar[str] = "Fan et al., 2021, https://arxiv.org/abs/2112.05825"
    summary: ClassVar[str] = "FixMatch with features that still distinguish views, and rotation prediction."
    use_when: ClassVar[str] = "with few labels, for images with a natural upright position"
    cost: ClassVar[float | None] = 10.4
    needs_images: ClassVar[bool] = True

    threshold: Annotated[float, Knob("tau: minimum confidence of a pseudo-label", 0, 1, probe=0.0)] = 0.95
    lambda_d: Annotated[float, Knob("weight of the feature distance loss", 0, probe=5.0)] = 1.0
    lambda_r: Annotated[float, Knob("weight of the rotation loss", 0, probe=5.0)] = 1.0

    def networks(self, classifier: nn.Module, spec: DataSpec) -> Networks:
        """The classifier, a linear projection of its features, and a head that tells quarter turns apart."""
        width = spec.feature_width
        return Networks(
            model=classifier, projection=perceptron(width, width), rotation=perceptron(width, width, NUM_TURNS)
        )

    def objectives(self) -> tuple[Objective, ...]:
        """One loss, which trains the projection and the rotation head too."""
        return (Objective(self.loss, trains=("model", "projection", "rotation")),)

    def loss(self, nets: Networks, batch: Batch, memory: AlignedMemory, step: Step) -> Loss:
        """The loss of section 3 on one step."""
        weak = self.predict_weak_with_features(nets, batch, memory)
        confidence, label = confidence_and_label(weak.aligned)
        mask = above_threshold(confidence, self.threshold)
        forward = self.forward_strong_with_features(nets, batch, memory, weak, mask)
        z_strong, z_weak = nets.through("projection", forward.features, weak.features[forward.rows])
        nearness = F.cosine_similarity(z_strong, z_weak, dim=-1).clamp(min=0)
        distance = (forward.scale * nearness).sum() / len(mask)
        unsupervised = cross_entropy(forward.strong, label[forward.rows], forward.scale, count=len(mask))
        terms = {
            "supervised": self.labeled_term(forward.labeled, batch),
            "distance": self.lambda_d * distance,
            "rotation": self.lambda_r * self.rotation_loss(nets, batch),
            "unsupervised": self.lambda_u * unsupervised,
        }
        return pseudo_label_loss(terms, batch, label, mask)

    def rotation_loss(self, nets: Networks, batch: Batch) -> Float[Tensor, ""]:
        """Mean cross-entropy of the turns that the head sees in images shown in all four ways."""
        # Every mu-th row of a process's part is every mu-th row of the whole batch.
        rows = torch.arange(0, len(batch.unlabeled.ids), self.mu)
        turned, turns = every_quarter_turn(batch.unlabeled.view("weak", rows, draw=1))
        with nets.still_statistics():
            ((_, features),) = nets.logits_and_features(turned)
        (logits,) = nets.through("rotation", features)
        return F.cross_entropy(logits, turns)
