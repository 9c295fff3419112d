"""Networks and batches whose outputs are fixed numbers, for holding a loss against its paper's equations."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from tests.methods import paper
from understudy.core.seeding import generator
from understudy.core.types import Batch, DataSpec, Labeled, Loss, Step, Unlabeled
from understudy.data.stream import Selector

B, U, K = 4, 11, 5
COUNTS = (9, 6, 3, 2, 1)
SPEC = DataSpec(K, sum(COUNTS), U, (K,), COUNTS, K)


class Fixed:
    """Networks whose logits are the rows of their input, times a factor that takes the gradient.

    Features are the logits' first half. Other networks, such as a projection, are given by name.
    """

    def __init__(self, **networks: nn.Module) -> None:
        self.factor = torch.ones(K, requires_grad=True)
        self.asked: list[str] = []
        self.networks = networks

    def logits(self, *views: Tensor) -> tuple[Tensor, ...]:
        self.asked.append("logits")
        return tuple(view * self.factor for view in views)

    def logits_and_features(self, *views: Tensor) -> tuple[tuple[Tensor, Tensor], ...]:
        return tuple((logits, logits[:, : K // 2]) for logits in self.logits(*views))

    def through(self, name: str, *views: Tensor) -> tuple[Tensor, ...]:
        self.asked.append(name)
        return tuple(self.networks[name](view) for view in views)

    def predict(self, x: Tensor, *, by: str = "ema") -> Tensor:
        self.asked.append(by)
        return x * (1.0 if by == "ema" else 1.5)  # no graph is cut here: a loss must not rely on that alone

    def predict_with_features(self, x: Tensor, *, by: str = "ema") -> tuple[Tensor, Tensor]:
        logits = self.predict(x, by=by)
        return logits, logits[:, : K // 2]


class Case:
    """One step's rows: what each view's logits are, and the true labels of the labeled ones.

    A second draw of a view is named with its number, as in `strong1`.
    """

    def __init__(self, seed: int = 0) -> None:
        rng = np.random.default_rng(seed)
        self.labeled, self.weak, self.strong = (rng.normal(0, 2, (rows, K)).astype(np.float32) for rows in (B, U, U))
        self.weak *= rng.uniform(0.3, 3, (U, 1)).astype(np.float32)
        self.labels, self.ids = rng.integers(0, K, B), np.arange(B)
        self.weight = rng.uniform(0.5, 1.5, B).astype(np.float32)
        self.weak1, self.strong1, self.strong2 = (rng.normal(0, 2, (U, K)).astype(np.float32) for _ in range(3))

    def batch(self) -> Batch:
        def render(name: str, rows: Tensor | None, draw: int) -> Tensor:
            view = torch.from_numpy(getattr(self, f"{name}{draw or ''}"))
            return view if rows is None else view[rows]

        return Batch(
            Labeled(
                torch.from_numpy(self.labels),
                torch.from_numpy(self.weight),
                render,
                "labeled",
                torch.tensor(COUNTS, dtype=torch.float32),
                torch.from_numpy(self.ids),
            ),
            Unlabeled(torch.arange(U), render, Selector(exact=True).select),
            generator,
        )

    def supervised(self, label_smoothing: float = 0.0) -> float:
        return paper.supervised(self.labeled, self.labels, self.weight, label_smoothing)


def step(method: Any, case: Case, *, memory: Any = None, progress: float = 0.5, nets: Any = None) -> tuple[Loss, Any]:
    """The method's loss of the case, and the networks it asked."""
    nets = nets or Fixed()
    return method.loss(nets, case.batch(), memory or method.memory(SPEC), Step(7, progress)), nets


def terms(loss: Loss) -> dict[str, float]:
    """The value of each term."""
    return {name: value.item() for name, value in loss.terms.items()}
