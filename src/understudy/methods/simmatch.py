"""SimMatch: two views of an image belong to the same class, and are equally near to each of the labeled images."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Annotated, ClassVar

import torch
from jaxtyping import Float
from torch import Tensor, nn

from understudy.core.config import Knob
from understudy.core.types import Batch, DataSpec, Loss, Objective, Step
from understudy.functional.alignment import Alignment
from understudy.functional.banks import LabeledBank
from understudy.functional.graphs import aggregated, relations, unfolded
from understudy.functional.losses import cross_entropy
from understudy.functional.pseudo_labels import above_threshold
from understudy.methods.base import AlignedMemory, pseudo_label_loss, register
from understudy.methods.base_features import OnFeatures
from understudy.models.nets import Networks
from understudy.models.projection import perceptron


class LabeledEmbeddings(AlignedMemory):
    """The class balances, and an embedding of each labeled row."""

    def __init__(self, num_classes: int, num_labeled: int, width: int) -> None:
        super().__init__(num_classes)
        self.bank = LabeledBank(num_labeled, width)


@register
@dataclass(frozen=True, kw_only=True)
class SimMatch(OnFeatures[LabeledEmbeddings]):
    """SimMatch (Zheng et al., 2022), algorithm 1 and equations 1 to 12.

    A weak view has class probabilities p (aligned) and, by a projection of its features, relations q to the labeled
    images: the softmax of cosines over t. Each corrects the other: q' is q times p of each labeled image's class,
    rescaled, and p' = alpha p + (1 - alpha) times the sums of q over each class's images. The strong view learns both:

    L = H(y_b, p(x_b)) + lambda_u mean_u 1(max p' >= tau) H(p', p(strong(u))) + lambda_in mean_u H(q', q(strong(u))).

    Labeled images' embeddings are remembered: z_i becomes normalize(m z_i + (1 - m) z), once the step has used z_i.

    Differs from the paper: by default the teacher is the averaged weights (equation 11) and embeddings are remembered
    with momentum as well (equation 12; the paper has one or the other, `teacher="concat"` or `bank_momentum=0`); its
    projection is the present one. Labeled images not yet met are left out, where the authors' code waits for an epoch.
    Aligned to a uniform balance whose mean age is the authors' 32 batches'.
    Costs: every strong view is trained on, since q' counts for all, and the teacher also sees the labeled rows.
    """

    paper: ClassVar[str] = "Zheng et al., 2022, https://arxiv.org/abs/2203.06915"
    summary: ClassVar[str] = (
        "Match class predictions and similarities to labeled images across views, each correcting the other."
    )
    use_when: ClassVar[str] = "with a few labels per class, and time to train on every strong view"
    remembers_labeled: ClassVar[bool] = True
    cost: ClassVar[float | None] = 8.4

    threshold: Annotated[float, Knob("tau: minimum confidence of a pseudo-label", 0, 1, probe=0.0)] = 0.95
    lambda_in: Annotated[float, Knob("weight of the similarity (instance) loss", 0, probe=5.0)] = 1.0
    alpha: Annotated[
        float,
        Knob(
            "weight of the classifier's prediction in a pseudo-label; the rest comes from similar images",
            0,
            1,
            probe=0.3,
        ),
    ] = 0.9
    temperature: Annotated[float, Knob("t: temperature of the softmax over similarities", 0.01, probe=1.0)] = 0.1
    bank_momentum: Annotated[float, Knob("m: momentum of the embeddings in the memory bank", 0, 1, probe=0.0)] = 0.7
    embedding_width: Annotated[int, Knob("dimension of the embeddings", 1, probe=8)] = 128
    alignment: Alignment = field(default_factory=lambda: Alignment(target="uniform", momentum=0.94))

    def networks(self, classifier: nn.Module, spec: DataSpec) -> Networks:
        """The classifier, and a projection of its features."""
        width = spec.feature_width
        return Networks(model=classifier, projection=perceptron(width, width, self.embedding_width))

    def memory(self, spec: DataSpec) -> LabeledEmbeddings:
        """Class balances, and a place for each labeled row."""
        return LabeledEmbeddings(spec.num_classes, spec.num_labeled, self.embedding_width)

    def objectives(self) -> tuple[Objective, ...]:
        """One loss, which trains the projection too."""
        return (Objective(self.loss, trains=("model", "projection")),)

    def loss(self, nets: Networks, batch: Batch, memory: LabeledEmbeddings, step: Step) -> Loss:
        """Algorithm 1 on one step."""
        bank, labels = memory.bank, batch.labeled.targets
        forward = self.forward_all(nets, batch, memory, batch.unlabeled.view("strong"))
        with torch.no_grad():
            z_labeled, z_weak = nets.through("projection", forward.labeled_features, forward.weak_features)
            probs = self.alignment(forward.weak.softmax(-1), memory.balance, batch.labeled.class_counts)
            targets, relation = self.propagated(probs, z_weak, bank)
            mask = above_threshold(targets.max(-1).values, self.threshold)
        (z_strong,) = nets.through("projection", *forward.strong_features)
        related = relations(z_strong, bank.embeddings, bank.known, self.temperature)
        instance = -(relation * related).sum(-1).mean() * bank.known.any()
        bank.update(batch.labeled.ids, z_labeled, labels if labels.ndim == 1 else labels.argmax(-1), self.bank_momentum)
        terms = {
            "supervised": self.labeled_term(forward.labeled, batch),
            "instance": self.lambda_in * instance,
            "unsupervised": self.lambda_u * cross_entropy(forward.strong, targets, mask),
        }
        return pseudo_label_loss(terms, batch, targets, mask)

    def propagated(
        self, probs: Float[Tensor, "u k"], z: Float[Tensor, "u d"], bank: LabeledBank
    ) -> tuple[Float[Tensor, "u k"], Float[Tensor, "u m"]]:
        """Class probabilities and relations to labeled rows, each corrected by the other (equations 7 to 10)."""
        relation = relations(z, bank.embeddings, bank.known, self.temperature).exp()
        near = aggregated(relation, bank.labels, probs.shape[-1])
        smoothed = torch.where(bank.known.any(), self.alpha * probs + (1 - self.alpha) * near, probs)
        return smoothed, unfolded(relation, probs, bank.labels)
