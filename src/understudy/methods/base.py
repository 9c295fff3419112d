"""What a learning algorithm is: frozen settings, the networks and memory it needs, and its loss."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Annotated, Any, ClassVar, Generic, TypeVar

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from understudy.core.config import Config, Knob
from understudy.core.registry import Registry
from understudy.core.types import Batch, DataSpec, Loss, Objective, PseudoLabels, Step
from understudy.functional.alignment import Alignment, ClassBalance
from understudy.functional.criteria import Criterion, CrossEntropy
from understudy.functional.losses import cross_entropy
from understudy.models.nets import Networks

Memory = TypeVar("Memory", bound=nn.Module)
Judge = Callable[[Float[Tensor, "u k"], Float[Tensor, "u k"]], tuple[Tensor, Float[Tensor, "u"]]]

METHODS: Registry[Any] = Registry("method", "understudy.methods", hidden="pretext")


def register(cls: type[Any]) -> type[Any]:
    """A class decorator that files a method under the name of its module."""
    METHODS.register(cls.__module__.rpartition(".")[2])(cls)
    return cls


@dataclass(frozen=True, kw_only=True)
class Method(Config, Generic[Memory]):
    """A learning algorithm: immutable hyperparameters and the losses they define.

    Class attributes: `paper` (citation and address), `summary` (idea in a sentence), `use_when`, `views` (names of the
    views it renders of unlabeled rows), `needs_images` (whether rows must be images),
    `needs_features` (whether it uses the input of the network's last layer),
    `pretext` (whether it learns features alone, for another method to start from), `remembers_labeled`
    (whether it keeps something of each labeled row, which a mix of two rows would spoil), `kept_networks` (names
    of the networks beside the classifier that a run folder keeps), `cost` (of a step, in
    supervised steps of as many labeled images, with 7 unlabeled rows per labeled one when every image counts).
    """

    variants: ClassVar[Registry[Any] | None] = METHODS
    paper: ClassVar[str]
    summary: ClassVar[str]
    use_when: ClassVar[str]
    views: ClassVar[tuple[str, ...]] = ()
    needs_images: ClassVar[bool] = False
    needs_features: ClassVar[bool] = False
    pretext: ClassVar[bool] = False
    cost: ClassVar[float | None] = None
    remembers_labeled: ClassVar[bool] = False
    kept_networks: ClassVar[tuple[str, ...]] = ()

    ema_decay: Annotated[float, Knob("decay of the running average of the weights", 0, 1, probe=0.5)] = 0.999
    criterion: Criterion = field(default_factory=CrossEntropy)

    def unlabeled_batch_size(self, batch_size: int) -> int:
        """Unlabeled rows per step beside `batch_size` labeled ones."""
        return 0

    def networks(self, classifier: nn.Module, spec: DataSpec) -> Networks:
        """The networks the method trains around the given classifier."""
        return Networks(model=classifier)

    def memory(self, spec: DataSpec) -> nn.Module:
        """What the method remembers between steps, as a module of buffers."""
        return nn.Module()

    def objectives(self) -> tuple[Objective, ...]:
        """The losses of one step in turn, each with the networks it trains."""
        return (Objective(self.loss),)

    def first_phase(self) -> tuple[Objective, ...]:
        """The losses of a supervised step of the first phase; each moves what the objective in its place trains."""
        return (Objective(lambda nets, batch, *_: self.supervised_loss(nets, batch)),)

    def baseline(self) -> Method[Any]:
        """The supervised method it is compared with: same criterion and same average of the weights."""
        supervised: type[Method[Any]] = METHODS.get("supervised")
        return supervised(criterion=self.criterion, ema_decay=self.ema_decay)

    def pictures(self, nets: Networks, memory: Memory) -> dict[str, Tensor]:
        """What to look at during training, such as generated images (n, c, h, w) in [0, 1], or rows of numbers."""
        return {}

    def loss(self, nets: Networks, batch: Batch, memory: Memory, step: Step) -> Loss:
        """The loss of one step; it may run networks and update memory, and touches nothing else."""
        raise NotImplementedError

    def supervised_loss(self, nets: Networks, batch: Batch) -> Loss:
        """The labeled term alone: what the first phase of every run, and the baseline, minimize."""
        (logits,) = nets.logits(batch.labeled.view())
        return Loss({"supervised": self.labeled_term(logits, batch)})

    def labeled_term(
        self, logits: Float[Tensor, "b k"], batch: Batch, scale: Float[Tensor, "b"] | float = 1.0
    ) -> Float[Tensor, ""]:
        """The weighted criterion of the labeled rows; `scale` weighs them once more."""
        labeled = batch.labeled
        return self.criterion(logits, labeled.targets, labeled.weight * scale, labeled.class_counts)


@dataclass(frozen=True, kw_only=True)
class Pretext(Method[Memory]):
    """Shared shape of the methods that learn features from rows without labels, for another method to start from.

    What is judged, kept and handed on are the averaged weights. The classifier's head takes no part; small networks on
    its input do, and stay behind.
    """

    pretext: ClassVar[bool] = True
    needs_features: ClassVar[bool] = True
    criterion: ClassVar[Any] = CrossEntropy()  # type: ignore[misc]  # no label is learned, so it is no knob

    mu: Annotated[int, Knob("unlabeled rows per row of batch_size; labels go unused", 1, probe=2)] = 7

    def unlabeled_batch_size(self, batch_size: int) -> int:
        """Unlabeled rows per step: `mu` times the labeled ones."""
        return self.mu * batch_size

    def objectives(self) -> tuple[Objective, ...]:
        """One loss, which trains the classifier's body and the network on its features."""
        return (Objective(self.loss, trains=("model", "projection")),)

    @staticmethod
    def features(nets: Networks, *views: Float[Tensor, "_ ..."]) -> tuple[Float[Tensor, "_ d"], ...]:
        """What the head would be given for each view, from one training forward."""
        return tuple(features for _, features in nets.logits_and_features(*views))


@dataclass(frozen=True)
class Judged:
    """A batch whose weak views were judged and whose strong views were trained on where that pays.

    Args:
        labeled: Logits of the labeled rows.
        probs: The teacher's predictions of the weak views, before any alignment.
        targets: Class or probabilities that each unlabeled row is trained towards.
        weight: Weight of each unlabeled row.
        rows: The unlabeled rows that were trained on.
        scale: Their weights in the loss.
        strong: Logits of their strong views.
    """

    labeled: Float[Tensor, "b k"]
    probs: Float[Tensor, "u k"]
    targets: Int[Tensor, "u"] | Float[Tensor, "u k"]
    weight: Float[Tensor, "u"]
    rows: Int[Tensor, "s"]
    scale: Float[Tensor, "s"]
    strong: Float[Tensor, "s k"]

    @property
    def unlabeled_loss(self) -> Float[Tensor, ""]:
        """Weighted cross-entropy of the strong views, over all unlabeled rows."""
        return cross_entropy(self.strong, self.targets[self.rows], self.scale, count=len(self.weight))


class AlignedMemory(nn.Module):
    """Memory of a method that may align its predictions; methods that remember more derive from it."""

    def __init__(self, num_classes: int) -> None:
        super().__init__()
        self.balance = ClassBalance(num_classes)


Aligned = TypeVar("Aligned", bound=AlignedMemory)


@dataclass(frozen=True, kw_only=True)
class WeakToStrong(Method[Aligned]):
    """Shared shape of the methods in which a prediction on the weak view labels the strong view.

    Differs from the papers: by default the weak view is predicted by the averaged weights in evaluation mode, without
    gradient, and a strong view is rendered and trained on only where its weight is above zero. `teacher="concat"` is
    the papers' single training forward over labeled, weak and strong views.
    """

    views: ClassVar[tuple[str, ...]] = ("weak", "strong")

    mu: Annotated[int, Knob("unlabeled rows per labeled row", 1, probe=2)] = 7
    lambda_u: Annotated[float, Knob("weight of the unlabeled loss", 0, probe=0.25)] = 1.0
    teacher: Annotated[
        str,
        Knob("network that predicts the weak view", choices=("ema", "model", "concat"), probe="model"),
    ] = "ema"
    alignment: Alignment = field(default_factory=Alignment)

    def unlabeled_batch_size(self, batch_size: int) -> int:
        """Unlabeled rows per step: `mu` times the labeled ones."""
        return self.mu * batch_size

    def memory(self, spec: DataSpec) -> Any:
        """Running class balances, for alignment."""
        return AlignedMemory(spec.num_classes)

    def judged(self, nets: Networks, batch: Batch, memory: Aligned, judge: Judge) -> Judged:
        """The batch after its forward passes.

        Args:
            judge: From the teacher's predictions of the weak views, as they are and aligned, the target of each row
                (class or probabilities) and its weight. It is called without gradient.
        """
        labeled, unlabeled = batch.labeled, batch.unlabeled
        if self.teacher == "concat":
            logits, weak, strong = nets.logits(labeled.view(), unlabeled.view("weak"), unlabeled.view("strong"))
            probs, targets, weight = self._judge(weak.detach(), batch, memory, judge)
            rows, scale = torch.arange(len(weight), device=weight.device), weight
        else:
            predicted = nets.predict(unlabeled.view("weak"), by=self.teacher)
            probs, targets, weight = self._judge(predicted, batch, memory, judge)
            rows, scale = unlabeled.select(weight)
            logits, strong = nets.logits(labeled.view(), unlabeled.view("strong", rows))
        self.alignment.observe_labeled(logits.detach().softmax(-1), memory.balance)
        return Judged(logits, probs, targets, weight, rows, scale, strong)

    @torch.no_grad()
    def _judge(self, logits: Tensor, batch: Batch, memory: Aligned, judge: Judge) -> tuple[Tensor, Tensor, Tensor]:
        probs = logits.softmax(-1)
        aligned = self.alignment(probs, memory.balance, batch.labeled.class_counts)
        return probs, *judge(probs, aligned)

    def consistency(self, nets: Networks, batch: Batch, memory: Aligned, judge: Judge) -> Loss:
        """The labeled loss plus `lambda_u` times the loss of strong views against judged weak predictions."""
        judged = self.judged(nets, batch, memory, judge)
        return self.as_loss(batch, judged, {"supervised": self.labeled_term(judged.labeled, batch)})

    def as_loss(
        self, batch: Batch, judged: Judged, terms: dict[str, Tensor], *, ramp: float = 1.0, **metrics: Tensor
    ) -> Loss:
        """The loss of the given terms and of the strong views, with what is worth watching.

        Args:
            ramp: Share of `lambda_u` that counts at this step.
            metrics: More numbers worth watching.
        """
        targets, weight = judged.targets, judged.weight
        return Loss(
            terms={**terms, "unsupervised": ramp * self.lambda_u * judged.unlabeled_loss},
            metrics={"mask_ratio": (weight > 0).float().mean(), "mean_weight": weight.mean(), **metrics},
            pseudo_labels=PseudoLabels(
                batch.unlabeled.ids, targets if targets.ndim == 1 else targets.argmax(-1), weight
            ),
        )


@dataclass(frozen=True)
class JudgedFeatures(Judged):
    """A judged batch with the classifier's features.

    Args:
        weak_features: The teacher's features of all weak views; they carry a gradient under `concat` only.
        strong_features: Features of the strong views that were trained on.
    """

    weak_features: Float[Tensor, "u d"]
    strong_features: Float[Tensor, "s d"]


@dataclass(frozen=True)
class Embedded:
    """A batch after forward passes over all its rows, with the classifier's features.

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

    def judged(self, targets: Float[Tensor, "u k"], weight: Float[Tensor, "u"]) -> Judged:
        """The batch with each unlabeled row's target and weight."""
        rows = torch.arange(len(weight), device=weight.device)
        return Judged(self.labeled, self.weak.softmax(-1), targets, weight, rows, weight, self.strong)


@dataclass(frozen=True, kw_only=True)
class OnFeatures(WeakToStrong[Aligned]):
    """Shared shape of the methods that also train a small network on the classifier's features.

    It is not averaged: what a teacher sees in an image is the present small network's output for that teacher's
    features.
    """

    def judged_features(self, nets: Networks, batch: Batch, memory: Aligned, judge: Judge) -> JudgedFeatures:
        """As `judged`, with features."""
        x, unlabeled = batch.labeled.view(), batch.unlabeled
        if self.teacher == "concat":
            views = x, unlabeled.view("strong"), unlabeled.view("weak")
            (logits, _), strong, (weak, features) = nets.logits_and_features(*views)
            probs, targets, weight = self._judge(weak.detach(), batch, memory, judge)
            rows, scale = torch.arange(len(weight), device=weight.device), weight
        else:
            predicted, features = nets.predict_with_features(unlabeled.view("weak"), by=self.teacher)
            probs, targets, weight = self._judge(predicted, batch, memory, judge)
            rows, scale = unlabeled.select(weight)
            (logits, _), strong = nets.logits_and_features(x, unlabeled.view("strong", rows))
        self.alignment.observe_labeled(logits.detach().softmax(-1), memory.balance)
        return JudgedFeatures(logits, probs, targets, weight, rows, scale, strong[0], features, strong[1])

    def embedded(self, nets: Networks, batch: Batch, memory: Aligned, *strong: Float[Tensor, "u ..."]) -> Embedded:
        """The batch with these strong views, all of them trained on."""
        x, weak = batch.labeled.view(), batch.unlabeled.view("weak")
        if self.teacher == "concat":
            (logits, given), (predicted, features), *seen = nets.logits_and_features(x, weak, *strong)
        else:
            (logits, _), *seen = nets.logits_and_features(x, *strong)
            predicted, both = nets.predict_with_features(torch.cat([x, weak]), by=self.teacher)
            predicted, given, features = predicted[len(x) :], both[: len(x)], both[len(x) :]
        self.alignment.observe_labeled(logits.detach().softmax(-1), memory.balance)
        return Embedded(
            logits, given.detach(), predicted.detach(), features.detach(), seen[0][0], tuple(f for _, f in seen)
        )
