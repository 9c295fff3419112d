"""The base of methods that also train a small network on the classifier's features: forwards with features."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from jaxtyping import Float
from torch import Tensor

from understudy.core.types import Batch
from understudy.methods.base import Aligned, StrongForward, WeakToStrong, every_row
from understudy.models.nets import Networks


@dataclass(frozen=True)
class WeakFeatures:
    """The teacher's predictions of the weak views, and its features of them.

    Args:
        aligned: The predictions after alignment, without gradient.
        features: Features of the weak views; they carry a gradient with `teacher="concat"` only.
        joint: With `teacher="concat"`, the labeled logits, the strong logits and the strong features of the forward.
    """

    aligned: Float[Tensor, "u k"]
    features: Float[Tensor, "u d"]
    joint: tuple[Float[Tensor, "b k"], Float[Tensor, "u k"], Float[Tensor, "u d"]] | None


@dataclass(frozen=True)
class StrongFeatures(StrongForward):
    """A training forward with the classifier's features of the selected strong views."""

    features: Float[Tensor, "s d"]


@dataclass(frozen=True)
class FullForward:
    """Forwards over all views of all rows, with the classifier's features.

    Args:
        labeled: Logits of the labeled rows.
        labeled_features: The teacher's features of the labeled rows, without gradient.
        weak: The teacher's logits of the weak views, without gradient.
        weak_features: The teacher's features of the weak views, without gradient.
        strong: Logits of the first strong view.
        strong_features: Features of each strong view.
    """

    labeled: Float[Tensor, "b k"]
    labeled_features: Float[Tensor, "b d"]
    weak: Float[Tensor, "u k"]
    weak_features: Float[Tensor, "u d"]
    strong: Float[Tensor, "u k"]
    strong_features: tuple[Tensor, ...]


@dataclass(frozen=True, kw_only=True)
class OnFeatures(WeakToStrong[Aligned]):
    """Shared parts of the methods that also train a small network on the classifier's features.

    That network is not averaged: its present weights are applied to the features of any teacher.
    """

    needs_features: ClassVar[bool] = True

    def predict_weak_with_features(self, nets: Networks, batch: Batch, memory: Aligned) -> WeakFeatures:
        """As `predict_weak`, with features."""
        labeled, unlabeled = batch.labeled, batch.unlabeled
        if self.teacher == "concat":
            views = labeled.view(), unlabeled.view("strong"), unlabeled.view("weak")
            (logits, _), strong, (weak, features) = nets.logits_and_features(*views)
            joint = logits, *strong
        else:
            weak, features = nets.predict_with_features(unlabeled.view("weak"), by=self.teacher)
            joint = None
        aligned = self.alignment(weak.detach().softmax(-1), memory.balance, labeled.class_counts)
        return WeakFeatures(aligned, features, joint)

    def forward_strong_with_features(
        self, nets: Networks, batch: Batch, memory: Aligned, weak: WeakFeatures, weight: Float[Tensor, "u"]
    ) -> StrongFeatures:
        """As `forward_strong`, with features."""
        labeled, unlabeled = batch.labeled, batch.unlabeled
        if weak.joint is None:
            rows, scale = unlabeled.select(weight)
            views = labeled.view(), unlabeled.view("strong", rows)
            (logits, _), (strong, features) = nets.logits_and_features(*views)
        else:
            (logits, strong, features), rows, scale = weak.joint, every_row(weight), weight
        self.alignment.observe_labeled(logits.detach().softmax(-1), memory.balance)
        return StrongFeatures(logits, rows, scale, strong, features)

    def forward_all(
        self, nets: Networks, batch: Batch, memory: Aligned, *strong: Float[Tensor, "u ..."]
    ) -> FullForward:
        """Forwards over the labeled rows, their weak views and these strong views, every one of which is trained on."""
        x, weak = batch.labeled.view(), batch.unlabeled.view("weak")
        if self.teacher == "concat":
            (logits, x_features), (predicted, weak_features), *trained = nets.logits_and_features(x, weak, *strong)
        else:
            (logits, _), *trained = nets.logits_and_features(x, *strong)
            predicted, features = nets.predict_with_features(torch.cat([x, weak]), by=self.teacher)
            predicted, x_features, weak_features = predicted[len(x) :], features[: len(x)], features[len(x) :]
        self.alignment.observe_labeled(logits.detach().softmax(-1), memory.balance)
        return FullForward(
            labeled=logits,
            labeled_features=x_features.detach(),
            weak=predicted.detach(),
            weak_features=weak_features.detach(),
            strong=trained[0][0],
            strong_features=tuple(features for _, features in trained),
        )
