"""The types that every layer shares: batches, steps, losses and the shape of a data set."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, Int
from numpy.typing import NDArray
from torch import Tensor

Ids = NDArray[np.int64]  # `rows` of a collection, or positions: `labeled_ids`, `pool_ids`
Observe = Callable[[int, int], None]  # called with (done, total) as work proceeds

Render = Callable[[str, Tensor | None, int], Tensor]
Select = Callable[[Tensor], tuple[Tensor, Tensor]]


@dataclass(frozen=True)
class DataSpec:
    """The facts about the data that a method may use before training.

    Args:
        num_classes: Number of classes k.
        num_labeled: Labeled training rows.
        num_unlabeled: Rows of the unlabeled stream; it contains the labeled training rows too.
        shape: Shape of one rendered row: (channels, height, width), or (features,).
        class_counts: Labeled training rows per class.
        feature_width: Width of the classifier's last linear layer's input.
    """

    num_classes: int
    num_labeled: int
    num_unlabeled: int
    shape: tuple[int, ...]
    class_counts: tuple[int, ...]
    feature_width: int


@dataclass(frozen=True)
class Step:
    """Where in training we are: the step's number, and the share of training done, in [0, 1]."""

    index: int
    progress: float
    attempt: int = 0


@dataclass(frozen=True)
class Labeled:
    """The labeled rows of one step; `ids` are positions among the labeled training rows, of which a row may come twice.

    `class_counts` are the labeled training rows of each class.
    """

    targets: Int[Tensor, "b"] | Float[Tensor, "b k"]
    weight: Float[Tensor, "b"]
    render: Render
    policy: str
    class_counts: Float[Tensor, "k"]
    ids: Int[Tensor, "b"]

    def view(self, name: str | None = None, draw: int = 0) -> Float[Tensor, "b ..."]:
        """The rows augmented by the run's labeled policy, or as the named view; each `draw` differs."""
        return self.render(name or self.policy, None, draw)


@dataclass(frozen=True)
class Unlabeled:
    """The unlabeled rows of one step; `ids` are positions in the unlabeled stream's pool."""

    ids: Int[Tensor, "u"]
    render: Render
    selector: Select

    def view(self, name: str, rows: Int[Tensor, "s"] | None = None, draw: int = 0) -> Float[Tensor, "s ..."]:
        """All rows, or the given ones, as the named view; another `draw` gives another augmentation."""
        return self.render(name, rows, draw)

    def select(self, weight: Float[Tensor, "u"]) -> tuple[Int[Tensor, "s"], Float[Tensor, "s"]]:
        """The rows whose weight is above zero, and the weight each selected row takes in the loss.

        A loss over the selection, `(scale * loss_of(rows)).sum() / u`, equals the loss over all u rows. The selection
        may hold spare rows of weight zero, and stands in for rows it had no room for by scaling the others up.
        """
        return self.selector(weight)


@dataclass(frozen=True)
class Batch:
    """All rows of one step; a supervised step has no unlabeled rows.

    `random` gives a generator that depends on the purpose named, the seed and the step. All processes get the same:
    they draw for the global batch and take their part with `distributed.share`.
    """

    labeled: Labeled
    unlabeled: Unlabeled
    random: Callable[[str], np.random.Generator]


@dataclass(frozen=True)
class PseudoLabels:
    """The labels a loss gave to unlabeled rows, for diagnostics only: detached classes and weights by pool position."""

    ids: Int[Tensor, "u"]
    labels: Int[Tensor, "u"]
    weight: Float[Tensor, "u"]


@dataclass(frozen=True)
class Loss:
    """Weighted scalar terms whose sum is minimized, and detached scalars to log."""

    terms: Mapping[str, Float[Tensor, ""]]
    metrics: Mapping[str, Float[Tensor, ""]] = field(default_factory=dict)
    pseudo_labels: PseudoLabels | None = None

    @property
    def total(self) -> Float[Tensor, ""]:
        """The sum of all terms."""
        terms = list(self.terms.values())
        return terms[0] if len(terms) == 1 else torch.stack(terms).sum()


@dataclass(frozen=True)
class Objective:
    """One player: a loss and the names of the networks whose weights its gradient moves.

    Args:
        rate: Its learning rates, as a multiple of the optimizer's.
    """

    loss: Callable[[Any, Batch, Any, Step], Loss]
    trains: tuple[str, ...] = ("model",)
    rate: float = 1.0
