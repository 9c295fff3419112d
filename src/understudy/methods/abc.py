"""ABC: a second head learns from rows drawn so that all classes come alike, on features that any method learns."""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Annotated, Any, ClassVar

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from understudy.core import distributed
from understudy.core.config import Knob
from understudy.core.errors import ConfigError
from understudy.core.types import Batch, DataSpec, Loss, Objective, Render, Step
from understudy.functional.losses import cross_entropy
from understudy.functional.pseudo_labels import above_threshold, confidence_and_label
from understudy.methods.base import METHODS, Method, register
from understudy.models.heads import find_head
from understudy.models.nets import Networks
from understudy.models.second_head import SecondHead

HEAD = "base_head"


class BaseMemory(nn.Module):
    """What the base method remembers."""

    def __init__(self, base: nn.Module) -> None:
        super().__init__()
        self.base = base


class Shared:
    """A batch for both heads: a view is rendered once, and a selection of rows holds those that either head wants.

    The base method selects first. Its selection is widened by the balanced head's rows, at weight zero in the base
    method's loss, so that one strong view and one forward serve both. Views and selections are recognized by
    identity, as comparing their values would make the host wait for the device.
    """

    def __init__(self, batch: Batch) -> None:
        self._views: list[tuple[str, Tensor | None, int, Tensor]] = []
        self._selections: list[Tensor] = []
        labeled = replace(batch.labeled, render=_once(batch.labeled.render, []))
        unlabeled = replace(batch.unlabeled, render=_once(batch.unlabeled.render, self._views))
        self.batch = replace(batch, labeled=labeled, unlabeled=unlabeled)

    def wanting(self, weight: Float[Tensor, "u"]) -> Batch:
        """The batch, any selection of which holds the rows of this weight too, at no weight in the selection's loss."""

        def select(asked: Tensor) -> tuple[Tensor, Tensor]:
            if len(asked) != len(weight):
                return self.batch.unlabeled.select(asked)
            rows, _ = self.batch.unlabeled.select(torch.maximum(asked, weight))
            self._selections.append(rows)
            return rows, _in_loss(asked, rows)

        return replace(self.batch, unlabeled=replace(self.batch.unlabeled, selector=select))

    def strong(self, weight: Float[Tensor, "u"]) -> tuple[Float[Tensor, "s ..."], Int[Tensor, "s"], Float[Tensor, "s"]]:
        """Strong views of the rows of this weight, already made if they can be; the rows; and their weights."""
        for name, rows, draw, view in self._views:
            if (name, draw) == ("strong", 0) and rows is None:
                return view, torch.arange(len(weight), device=weight.device), weight
            if (name, draw) == ("strong", 0) and rows is not None and any(rows is taken for taken in self._selections):
                return view, rows, _in_loss(weight, rows)
        rows, scale = self.batch.unlabeled.select(weight)
        return self.batch.unlabeled.view("strong", rows), rows, scale


def _once(render: Render, made: list[tuple[str, Tensor | None, int, Tensor]]) -> Render:
    """The renderer, which gives a view it made before as the same tensor, and notes what it makes."""

    def rendered(name: str, rows: Tensor | None, draw: int) -> Tensor:
        for *key, view in made:
            if key[0] == name and key[1] is rows and key[2] == draw:
                return view
        made.append((name, rows, draw, render(name, rows, draw)))
        return made[-1][-1]

    return rendered


def _in_loss(weight: Tensor, rows: Tensor) -> Tensor:
    """The weights of the rows, which stand in for rows of weight above zero that are not among them."""
    scale = weight[rows]
    return scale * (weight.sum() / scale.sum().clamp(min=1e-12))  # 0 where no row counts, and not 0 / 0


@register
@dataclass(frozen=True, kw_only=True)
class ABC(Method[BaseMemory]):
    """ABC (Lee et al., 2021), equations 2 to 4: an auxiliary balanced classifier beside any `base` method.

    L = L_base + mean_b B(n_min / n_yb) H(y_b, p(x_b)) + mean_u B(1 - t (1 - n_min / n_c)) 1(max q_u >= tau)
    H(q_u, p(strong(u))), where B(r) is 1 with probability r and else 0, n_y counts the labeled images of class y,
    q_u = p(weak(u)) is not sharpened, c is its class, and t is the share of training done. Both heads train the same
    features.

    The classifier's own last layer is the balanced head, which is evaluated and exported; the base method trains a
    copy of it, `base_head`, on the same features. `criterion` and `ema_decay` are those of the balanced head and of
    the classifier; the base method's criterion is its own.

    Evidence: on long-tailed CIFAR-10 (ratio 100, 1,500 labels in the largest class) the USB benchmark measured 83.9
    against FixMatch's 76.7 % with a pool of the labels' balance, and 83.8 against 70.0 % with a reversed one.

    Differs from the paper: one strong view in place of two, and q_u from the averaged weights unless `teacher` is
    `model`; the base head is not averaged, and predicts from features of the averaged network. A strong view that
    either head wants is rendered and run once for both, so a step costs little more than the base method's where that
    trains on strong views.
    """

    paper: ClassVar[str] = "Lee et al., 2021, https://arxiv.org/abs/2110.10368"
    summary: ClassVar[str] = "An auxiliary head, beside any method, trained on class-balanced samples."
    use_when: ClassVar[str] = "for imbalanced classes"
    needs_features: ClassVar[bool] = True
    cost: ClassVar[float | None] = 7.2
    views: ClassVar[tuple[str, ...]] = ("weak", "strong")

    base: Method[Any] = field(default_factory=lambda: METHODS.get("fixmatch")())
    threshold: Annotated[float, Knob("tau: minimum confidence of the balanced head", 0, 1, probe=0.0)] = 0.95
    teacher: Annotated[str, Knob("network that predicts the weak view", choices=("ema", "model"))] = "ema"

    def __post_init__(self) -> None:
        super().__post_init__()
        base = self.base
        if isinstance(base, ABC) or base.pretext or not base.unlabeled_batch_size(1):
            raise ConfigError(
                f"abc.base is {base.name!r}; it must be a method, other than abc, that learns to classify from "
                "unlabeled images, such as fixmatch"
            )
        if base.ema_decay not in (type(base)().ema_decay, self.ema_decay):
            raise ConfigError(
                f"abc.base.ema_decay is {base.ema_decay:g}, and there is one average of the weights; set abc.ema_decay"
            )

    @property
    def needs_images(self) -> bool:  # type: ignore[override]
        """Whether the base method does."""
        return self.base.needs_images

    def unlabeled_batch_size(self, batch_size: int) -> int:
        """Unlabeled rows per step: the base method's."""
        return self.base.unlabeled_batch_size(batch_size)

    def networks(self, classifier: nn.Module, spec: DataSpec) -> Networks:
        """The base method's networks, and the head it trains in the place of the classifier's."""
        nets = self.base.networks(classifier, spec)
        nets.add_module(HEAD, copy.deepcopy(find_head(classifier)[1]))
        return nets

    def memory(self, spec: DataSpec) -> BaseMemory:
        """The base method's memory."""
        return BaseMemory(self.base.memory(spec))

    def objectives(self) -> tuple[Objective, ...]:
        """The base method's, where the classifier is trained with the balanced head's terms beside."""
        return tuple(self.beside(objective, self.balanced_loss) for objective in self.base.objectives())

    def first_phase(self) -> tuple[Objective, ...]:
        """The labeled terms of both heads."""
        return tuple(self.beside(objective, self.balanced_supervised_loss) for objective in self.base.first_phase())

    def pictures(self, nets: Networks, memory: BaseMemory) -> dict[str, Tensor]:
        """The base method's images."""
        return self.base.pictures(nets, memory.base)

    def beside(self, objective: Objective, balanced: Callable[..., Loss]) -> Objective:
        """The base method's objective on its own head and, if it trains the classifier, with a balanced loss around."""

        def loss(nets: Networks, batch: Batch, memory: BaseMemory, step: Step) -> Loss:
            heads = SecondHead(nets, HEAD)
            if "model" not in objective.trains:
                return objective.loss(heads, batch, memory.base, step)
            return balanced(heads, Shared(batch), step, lambda shared: objective.loss(heads, shared, memory.base, step))

        trains = (*objective.trains, HEAD) if "model" in objective.trains else objective.trains
        return Objective(loss, trains, objective.rate)

    def balanced_loss(self, heads: SecondHead, shared: Shared, step: Step, base: Callable[[Batch], Loss]) -> Loss:
        """The base method's loss with both terms of the balanced head."""
        batch = shared.batch
        with torch.no_grad():
            targets = heads.own_predict(batch.unlabeled.view("weak"), by=self.teacher).softmax(-1)
            weight = self.weigh(targets, batch, step)
        loss = base(shared.wanting(weight))
        view, rows, scale = shared.strong(weight)
        logits, strong = heads.own_logits(batch.labeled.view(), view)
        terms = {
            "balanced_supervised": self.balanced_term(logits, batch),
            "balanced_unsupervised": cross_entropy(strong, targets[rows], scale, count=len(weight)),
        }
        return replace(
            loss, terms={**loss.terms, **terms}, metrics={**loss.metrics, "balanced_mask_ratio": weight.mean()}
        )

    def balanced_supervised_loss(
        self, heads: SecondHead, shared: Shared, step: Step, base: Callable[[Batch], Loss]
    ) -> Loss:
        """The base method's supervised loss with the labeled term of the balanced head."""
        loss = base(shared.batch)
        (logits,) = heads.own_logits(shared.batch.labeled.view())
        return replace(loss, terms={**loss.terms, "balanced_supervised": self.balanced_term(logits, shared.batch)})

    def balanced_term(self, logits: Float[Tensor, "b k"], batch: Batch) -> Float[Tensor, ""]:
        """Equation 2: the criterion of labeled rows, each kept with the probability n_min / n_y of its class."""
        targets, ratios = batch.labeled.targets, class_ratios(batch.labeled.class_counts)
        probability = ratios[targets] if targets.ndim == 1 else targets @ ratios
        return self.labeled_term(logits, batch, drawn("labeled", probability, batch))

    def weigh(self, probs: Float[Tensor, "u k"], batch: Batch, step: Step) -> Float[Tensor, "u"]:
        """Equation 4: 1 where the confidence reaches the threshold and the row is drawn, its class being common."""
        confidence, label = confidence_and_label(probs)
        ratios = class_ratios(batch.labeled.class_counts)
        probability = 1 - step.progress * (1 - ratios[label])
        return above_threshold(confidence, self.threshold) * drawn("unlabeled", probability, batch)


def class_ratios(class_counts: Float[Tensor, "k"]) -> Float[Tensor, "k"]:
    """Labels of the rarest class over those of each class, in (0, 1]; a class without labels counts as rarest."""
    present = torch.where(class_counts > 0, class_counts, torch.inf)
    return (present.min() / class_counts.clamp(min=1)).clamp(max=1)


def drawn(purpose: str, probability: Float[Tensor, "n"], batch: Batch) -> Float[Tensor, "n"]:
    """1 with the given probability of each row, else 0; the draws belong to the global batch."""
    draws = batch.random(f"balance of {purpose} rows").random(len(probability) * distributed.world_size(), np.float32)
    chosen = torch.from_numpy(distributed.share(draws)).to(probability.device)
    return (chosen < probability).to(probability.dtype)
