"""What a learning algorithm is: frozen settings, the networks and memory it needs, and its loss."""

from __future__ import annotations

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

    ema_decay: Annotated[float, Knob("decay of the exponential moving average of the weights", 0, 1, probe=0.5)] = 0.999
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

    The averaged weights are evaluated, saved and passed on. The classifier's head takes no part; small networks on its
    input do, and are discarded.
    """

    pretext: ClassVar[bool] = True
    needs_features: ClassVar[bool] = True
    criterion: ClassVar[Any] = CrossEntropy()  # type: ignore[misc]  # pretext tasks use no labels, so it is not a knob

    mu: Annotated[int, Knob("rows per step, as a multiple of batch_size; labels are not used", 1, probe=2)] = 7

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


class AlignedMemory(nn.Module):
    """Memory of a method that may align its predictions; methods that remember more derive from it."""

    def __init__(self, num_classes: int) -> None:
        super().__init__()
        self.balance = ClassBalance(num_classes)


Aligned = TypeVar("Aligned", bound=AlignedMemory)


@dataclass(frozen=True)
class WeakPrediction:
    """The teacher's predictions of the weak views, without gradient.

    Args:
        probs: The predictions before alignment.
        aligned: The predictions after alignment.
        joint: With `teacher="concat"`, the labeled and the strong logits of the same forward, with gradient.
    """

    probs: Float[Tensor, "u k"]
    aligned: Float[Tensor, "u k"]
    joint: tuple[Float[Tensor, "b k"], Float[Tensor, "u k"]] | None


@dataclass(frozen=True)
class StrongForward:
    """The training forward over the labeled rows and the strong views of the selected unlabeled rows.

    Args:
        labeled: Logits of the labeled rows.
        rows: The unlabeled rows that were selected.
        scale: Their weights in the loss; a loss is their weighted sum over the number of all unlabeled rows.
        strong: Logits of their strong views.
    """

    labeled: Float[Tensor, "b k"]
    rows: Int[Tensor, "s"]
    scale: Float[Tensor, "s"]
    strong: Float[Tensor, "s k"]


@dataclass(frozen=True, kw_only=True)
class WeakToStrong(Method[Aligned]):
    """Shared parts of the methods in which a prediction on the weak view labels the strong view.

    A loss asks `predict_weak` for predictions, derives a target and a weight for each row, and gives them to
    `learn_strong`; or to `forward_strong`, where it has terms of its own.

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

    def predict_weak(self, nets: Networks, batch: Batch, memory: Aligned) -> WeakPrediction:
        """The teacher's predictions of the weak views; with `concat` from one training forward over all views."""
        labeled, unlabeled = batch.labeled, batch.unlabeled
        if self.teacher == "concat":
            # The weak logits decide the weights, so no strong view can be left out of a forward that they are part of.
            logits, weak, strong = nets.logits(labeled.view(), unlabeled.view("weak"), unlabeled.view("strong"))
            joint = logits, strong
        else:
            weak, joint = nets.predict(unlabeled.view("weak"), by=self.teacher), None
        probs = weak.detach().softmax(-1)
        return WeakPrediction(probs, self.alignment(probs, memory.balance, labeled.class_counts), joint)

    def forward_strong(
        self, nets: Networks, batch: Batch, memory: Aligned, weak: WeakPrediction, weight: Float[Tensor, "u"]
    ) -> StrongForward:
        """The training forward over the labeled rows and the strong views of the rows whose weight is above zero."""
        labeled, unlabeled = batch.labeled, batch.unlabeled
        if weak.joint is None:
            # The selected strong views share one forward with the labeled rows, so batch norm normalizes both by the
            # same statistics, whatever the share of rows that count. On a GPU the selection has one of four fixed
            # sizes, its spare rows at weight zero, so that the host need not wait to learn how many rows count.
            rows, scale = unlabeled.select(weight)
            logits, strong = nets.logits(labeled.view(), unlabeled.view("strong", rows))
        else:
            (logits, strong), rows, scale = weak.joint, every_row(weight), weight
        self.alignment.observe_labeled(logits.detach().softmax(-1), memory.balance)
        return StrongForward(logits, rows, scale, strong)

    def learn_strong(
        self,
        nets: Networks,
        batch: Batch,
        memory: Aligned,
        weak: WeakPrediction,
        targets: Int[Tensor, "u"] | Float[Tensor, "u k"],
        weight: Float[Tensor, "u"],
    ) -> Loss:
        """The labeled term plus `lambda_u` times the weighted cross-entropy of strong views to their targets."""
        forward = self.forward_strong(nets, batch, memory, weak, weight)
        unsupervised = cross_entropy(forward.strong, targets[forward.rows], forward.scale, count=len(weight))
        terms = {
            "supervised": self.labeled_term(forward.labeled, batch),
            "unsupervised": self.lambda_u * unsupervised,
        }
        return pseudo_label_loss(terms, batch, targets, weight)


def every_row(weight: Float[Tensor, "u"]) -> Int[Tensor, "u"]:
    """The numbers of all rows, in place of a selection."""
    return torch.arange(len(weight), device=weight.device)


def pseudo_label_loss(
    terms: dict[str, Tensor],
    batch: Batch,
    targets: Int[Tensor, "u"] | Float[Tensor, "u k"],
    weight: Float[Tensor, "u"],
    **metrics: Tensor,
) -> Loss:
    """The loss of these terms, with its pseudo-labels, the share of unlabeled rows that count and their mean weight.

    Args:
        targets: Class of each unlabeled row, or its class probabilities.
        metrics: Further numbers worth watching.
    """
    labels = targets if targets.ndim == 1 else targets.argmax(-1)
    return Loss(
        terms=terms,
        metrics={"mask_ratio": (weight > 0).float().mean(), "mean_weight": weight.mean(), **metrics},
        pseudo_labels=PseudoLabels(batch.unlabeled.ids, labels, weight),
    )
