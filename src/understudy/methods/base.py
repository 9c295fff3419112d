"""What a learning algorithm is: frozen settings, the networks and memory it needs, and its loss."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated, Any, ClassVar, Generic, TypeVar

import torch
from jaxtyping import Float
from torch import Tensor, nn

from understudy.core.config import Config, Knob
from understudy.core.registry import Registry
from understudy.core.types import Batch, DataSpec, Loss, Objective, PseudoLabels, Step
from understudy.functional.losses import cross_entropy
from understudy.models.nets import Networks

Memory = TypeVar("Memory", bound=nn.Module)
Judge = Callable[[Float[Tensor, "u k"]], tuple[Tensor, Float[Tensor, "u"]]]

METHODS: Registry[Any] = Registry("method", "understudy.methods")


def register(cls: type[Any]) -> type[Any]:
    """A class decorator that files a method under the name of its module."""
    METHODS.register(cls.__module__.rpartition(".")[2])(cls)
    return cls


@dataclass(frozen=True, kw_only=True)
class Method(Config, Generic[Memory]):
    """A learning algorithm: immutable hyperparameters and the losses they define.

    Class attributes: `paper` (citation and address), `summary` (idea in a sentence), `use_when`, `views` (names of the
    views it renders of unlabeled rows).
    """

    variants: ClassVar[Registry[Any] | None] = METHODS
    paper: ClassVar[str]
    summary: ClassVar[str]
    use_when: ClassVar[str]
    views: ClassVar[tuple[str, ...]] = ()

    ema_decay: Annotated[float, Knob("decay of the running average of the weights", 0, 1, probe=0.5)] = 0.999
    label_smoothing: Annotated[float, Knob("share of each true label spread over all classes", 0, 1, probe=0.3)] = 0.0

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

    def loss(self, nets: Networks, batch: Batch, memory: Memory, step: Step) -> Loss:
        """The loss of one step; it may run networks and update memory, and touches nothing else."""
        raise NotImplementedError

    def supervised_loss(self, nets: Networks, batch: Batch) -> Loss:
        """The labeled term alone: what the first phase of every run, and the baseline, minimize."""
        (logits,) = nets.logits(batch.labeled.view())
        return Loss({"supervised": self.labeled_term(logits, batch)})

    def labeled_term(self, logits: Float[Tensor, "b k"], batch: Batch) -> Float[Tensor, ""]:
        """Weighted cross-entropy of the labeled rows."""
        labeled = batch.labeled
        return cross_entropy(logits, labeled.targets, labeled.weight, label_smoothing=self.label_smoothing)


@dataclass(frozen=True, kw_only=True)
class WeakToStrong(Method[Memory]):
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

    def unlabeled_batch_size(self, batch_size: int) -> int:
        """Unlabeled rows per step: `mu` times the labeled ones."""
        return self.mu * batch_size

    def consistency(self, nets: Networks, batch: Batch, judge: Judge, factor: float = 1.0) -> Loss:
        """The labeled loss plus `factor * lambda_u` times the loss of strong views against judged weak predictions.

        Args:
            judge: From the logits of the weak views, the target of each row (class or probabilities) and its weight.
        """
        labeled, unlabeled = batch.labeled, batch.unlabeled
        count = len(unlabeled.ids)
        if self.teacher == "concat":
            logits, weak, strong = nets.logits(labeled.view(), unlabeled.view("weak"), unlabeled.view("strong"))
            with torch.no_grad():
                targets, weight = judge(weak.detach())
            unlabeled_loss = cross_entropy(strong, targets, weight)
        else:
            with torch.no_grad():
                targets, weight = judge(nets.predict(unlabeled.view("weak"), by=self.teacher))
            rows, scale = unlabeled.select(weight)
            logits, strong = nets.logits(labeled.view(), unlabeled.view("strong", rows))
            unlabeled_loss = cross_entropy(strong, targets[rows], scale, count=count)
        return Loss(
            terms={
                "supervised": self.labeled_term(logits, batch),
                "unsupervised": factor * self.lambda_u * unlabeled_loss,
            },
            metrics={"mask_ratio": (weight > 0).float().mean(), "mean_weight": weight.mean()},
            pseudo_labels=PseudoLabels(unlabeled.ids, targets if targets.ndim == 1 else targets.argmax(-1), weight),
        )
