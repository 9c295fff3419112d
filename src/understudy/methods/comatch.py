"""CoMatch: near embeddings smooth each other's pseudo-labels, and like pseudo-labels draw embeddings together."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Annotated, ClassVar

import torch
from torch import Tensor, nn

from understudy.core import distributed
from understudy.core.config import Knob
from understudy.core.types import Batch, DataSpec, Loss, Objective, Step
from understudy.functional.alignment import Alignment
from understudy.functional.banks import Queue
from understudy.functional.graphs import agreement_graph, graph_contrast, relations
from understudy.functional.losses import cross_entropy
from understudy.functional.mixing import class_probabilities
from understudy.functional.pseudo_labels import above_threshold
from understudy.methods.base import AlignedMemory, pseudo_label_loss, register
from understudy.methods.base_features import FullForward, OnFeatures
from understudy.models.nets import Networks
from understudy.models.projection import perceptron


class RecentEmbeddings(AlignedMemory):
    """The class balances, and the embeddings and class probabilities of the last rows."""

    def __init__(self, num_classes: int, size: int, width: int) -> None:
        super().__init__(num_classes)
        self.queue = Queue(size, width, num_classes)


@register
@dataclass(frozen=True, kw_only=True)
class CoMatch(OnFeatures[RecentEmbeddings]):
    """CoMatch (Li et al., 2021), equations 3 to 11.

    The pseudo-label q of a row is alpha p + (1 - alpha) sum_k a_k p_k, where p is its aligned prediction on the weak
    view, p_k are the predictions of the last K rows (the labels of labeled rows), and a is the softmax of the
    similarities of their embeddings over t. In the pseudo-label graph, rows b and j have an edge of weight 1 if b = j,
    otherwise q_b q_j if this reaches T; W_b are the edge weights of row b, normalized to sum 1.

    L = H(y_b, p(x_b)) + lambda_u mean_u 1(max q >= tau) H(q, p(strong(u))) + lambda_c mean_u H(W_b, softmax_j(z_b z'_j
    / t)), with z and z' the embeddings of two strong views.

    Differs from the paper: by default p and its embedding come from the features of the averaged weights and the
    current projection (`teacher="concat"` is the paper's single forward). Pseudo-labels are smoothed as soon as the
    queue has rows; the authors' code waits until it is full. As in that code, and unlike equation 10, z_b is compared
    with the second strong views of all j, the queue stores aligned predictions before smoothing, and the graph is that
    of section 3.2 on the current batch. Alignment is to the uniform distribution, with a running mean whose mean age
    equals the authors' 32 batches.
    Cost: trains on two strong views of every row, so a step costs nearly twice as much as FixMatch's.
    """

    paper: ClassVar[str] = "Li et al., 2021, https://arxiv.org/abs/2011.11183"
    summary: ClassVar[str] = (
        "Pseudo-labels smoothed over similar embeddings, and a contrastive loss on the pseudo-label graph."
    )
    use_when: ClassVar[str] = "with a few labels per class; a step may cost twice as much as FixMatch's"
    cost: ClassVar[float | None] = 14.0

    threshold: Annotated[float, Knob("tau: minimum confidence of a pseudo-label", 0, 1, probe=0.0)] = 0.95
    lambda_c: Annotated[float, Knob("weight of the contrastive loss", 0, probe=5.0)] = 1.0
    alpha: Annotated[
        float,
        Knob(
            "weight of the classifier's prediction in a pseudo-label; the rest comes from similar images",
            0,
            1,
            probe=0.3,
        ),
    ] = 0.9
    temperature: Annotated[float, Knob("t: temperature of both softmaxes over similarities", 0.01, probe=1.0)] = 0.2
    edge_threshold: Annotated[
        float, Knob("T: minimum similarity of two pseudo-labels for an edge in the graph", 0, 1, probe=0.1)
    ] = 0.8
    queue_size: Annotated[int, Knob("K: number of rows in the memory bank", 1, probe=8)] = 2560
    embedding_width: Annotated[int, Knob("dimension of the embeddings", 1, probe=8)] = 64
    alignment: Alignment = field(default_factory=lambda: Alignment(target="uniform", momentum=0.94))

    def networks(self, classifier: nn.Module, spec: DataSpec) -> Networks:
        """The classifier, and a projection of its features."""
        width = spec.feature_width
        return Networks(model=classifier, projection=perceptron(width, width, self.embedding_width))

    def memory(self, spec: DataSpec) -> RecentEmbeddings:
        """Class balances, and the queue."""
        return RecentEmbeddings(spec.num_classes, self.queue_size, self.embedding_width)

    def objectives(self) -> tuple[Objective, ...]:
        """One loss, which trains the projection too."""
        return (Objective(self.loss, trains=("model", "projection")),)

    def loss(self, nets: Networks, batch: Batch, memory: RecentEmbeddings, step: Step) -> Loss:
        """Equations 3 to 11 on one step."""
        views = batch.unlabeled.view("strong"), batch.unlabeled.view("strong", draw=1)
        forward = self.forward_all(nets, batch, memory, *views)
        z, z_other = nets.through("projection", *forward.strong_features)
        with torch.no_grad():
            targets = self.smoothed(nets, batch, memory, forward)
            mask = above_threshold(targets.max(-1).values, self.threshold)
            all_targets = distributed.gather(targets)
            itself = distributed.share(torch.eye(len(all_targets), device=targets.device))
            graph = agreement_graph(targets, all_targets, itself, self.edge_threshold)
        contrast = graph_contrast(z, distributed.gather(z_other), graph, self.temperature)
        terms = {
            "supervised": self.labeled_term(forward.labeled, batch),
            "contrastive": self.lambda_c * contrast,
            "unsupervised": self.lambda_u * cross_entropy(forward.strong, targets, mask),
        }
        return pseudo_label_loss(terms, batch, targets, mask, edges=(graph > 0).sum(-1).float().mean())

    def smoothed(self, nets: Networks, batch: Batch, memory: RecentEmbeddings, forward: FullForward) -> Tensor:
        """The pseudo-labels by what the queue held, which then takes in this batch (equations 6 to 8)."""
        z_labeled, z_weak = nets.through("projection", forward.labeled_features, forward.weak_features)
        probs = self.alignment(forward.weak.softmax(-1), memory.balance, batch.labeled.class_counts)
        queue = memory.queue
        near = relations(z_weak, queue.embeddings, queue.known, self.temperature).exp() @ queue.probs
        targets = torch.where(queue.known.any(), self.alpha * probs + (1 - self.alpha) * near, probs)
        queue.push(z_weak, probs)
        queue.push(z_labeled, class_probabilities(batch.labeled.targets, probs.shape[-1]))
        return targets
