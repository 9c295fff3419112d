"""The smallest data, networks and runs that still exercise everything: images made on the spot, a second at most."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from unittest import mock

import jaxtyping
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from understudy.augment import Domain
from understudy.core.budget import Budget
from understudy.data.training_data import TrainingData
from understudy.engine import decisions
from understudy.engine import fit as fit_module
from understudy.engine.finalize import Trained
from understudy.engine.fit import fit
from understudy.engine.optim import SGD, Optimizer
from understudy.engine.stage import Settings, Stage
from understudy.engine.state import TrainState
from understudy.methods.base import Method
from understudy.models.nets import Execution

SIZE = 8
CLASSES = 3
GRAY = Domain(operations=("brightness", "contrast"), hflip=False, area=None, cutout=0.25)


@dataclass(frozen=True, eq=False)
class Tiny:
    """Training data, and the classes of all its rows, which no run may see."""

    data: TrainingData
    truth: NDArray[np.int64]


def tiny(
    num_classes: int = CLASSES,
    *,
    labeled: int = 12,
    unlabeled: int = 24,
    validation: int = 0,
    soft: bool = False,
    weight: Tensor | None = None,
) -> Tiny:
    """Gray 8x8 images whose class is a noisy pattern; rows in the order labeled, unlabeled, validation."""
    rng = np.random.default_rng(0)
    total = labeled + unlabeled + validation
    truth = np.arange(total) % num_classes
    truth[4 % total] = 0  # so that labeled classes are not equally common, where there are three
    patterns = rng.integers(0, 256, (num_classes, 1, SIZE, SIZE))
    images = (patterns[truth] + rng.normal(0, 40, (total, 1, SIZE, SIZE))).clip(0, 255).astype(np.uint8)
    targets = torch.from_numpy(truth[:labeled].copy())
    data = TrainingData(
        rows=torch.from_numpy(images),
        labeled=np.arange(labeled),
        targets=0.9 * nn.functional.one_hot(targets, num_classes) + 0.1 / num_classes if soft else targets,
        unlabeled=np.arange(labeled, labeled + unlabeled),
        classes=tuple(str(number) for number in range(num_classes)),
        domain=GRAY,
        size=SIZE,
        validation=np.arange(labeled + unlabeled, total),
        validation_targets=truth[labeled + unlabeled :].copy(),
        weight=weight,
    )
    return Tiny(data, truth)


class Center(nn.Module):
    """Values in [0, 1] spread around zero, so that images of different classes get different predictions."""

    def forward(self, x: Tensor) -> Tensor:
        return (x - 0.5) * 4


def network(num_classes: int = CLASSES, *, norm: bool = True, dropout: float = 0.0, seed: int = 0) -> nn.Module:
    """A two-layer convolutional net whose first predictions are already confident on some images."""
    torch.manual_seed(seed)
    head = nn.Linear(8 * 4, num_classes)
    with torch.no_grad():
        head.weight.mul_(24.0)
    layers = [
        Center(),
        nn.Conv2d(1, 8, 3, stride=2, padding=1),
        *([nn.BatchNorm2d(8)] if norm else []),
        nn.ReLU(),
        nn.Conv2d(8, 8, 3, stride=2, padding=1),
        *([nn.BatchNorm2d(8)] if norm else []),
        nn.ReLU(),
        nn.Flatten(),
        *([nn.Dropout(dropout)] if dropout else []),
        head,
    ]
    return nn.Sequential(*layers)


def stage(
    method: Method[Any],
    *,
    steps: int = 16,
    budget: Budget | None = None,
    data: TrainingData | None = None,
    net: nn.Module | None = None,
    optimizer: Optimizer | None = None,
    **settings: Any,
) -> Stage:
    """One short run on the processor in float32."""
    data = data or tiny().data
    chosen = {"batch_size": 6, "device": "cpu", "dtype": "float32", "compile": "off", "num_evaluations": 4}
    return Stage(
        settings=Settings(method=method, optimizer=optimizer or SGD(), **(chosen | settings)),
        data=data,
        network=net or network(len(data.classes)),
        budget=budget or Budget(steps=steps),
    )


@contextmanager
def same_execution(chunks: int = 1) -> Iterator[list[TrainState]]:
    """Fix the execution of runs inside the block, which is otherwise picked by timing; collect their states."""
    states: list[TrainState] = []

    def remember(*args: Any) -> TrainState:
        states.append(TrainState(*args))
        return states[-1]

    with (
        mock.patch.object(decisions, "choose_execution", return_value=Execution(chunks=chunks)),
        mock.patch.object(fit_module, "TrainState", remember),
    ):
        yield states


@contextmanager
def unchecked_shapes() -> Iterator[None]:
    """Turn off the checks of array shapes in signatures inside the block."""
    jaxtyping.config.update("jaxtyping_disable", True)
    try:
        yield
    finally:
        jaxtyping.config.update("jaxtyping_disable", False)


@dataclass(frozen=True, eq=False)
class Run:
    """A finished run: what `fit` returned, every tensor of its last state, and its plain values."""

    trained: Trained
    tensors: dict[str, Tensor]
    meta: dict[str, Any]


def run(
    training: Stage,
    folder: Path | None = None,
    *,
    observe: Sequence[Callable[[Any], None]] = (),
    chunks: int = 1,
    checkpoint_s: float = 0.0,
) -> Run:
    """`fit`, with its last state at hand; checking shapes in whole runs would double their time."""
    with same_execution(chunks) as states, unchecked_shapes():
        trained = fit(training, folder, observe=observe, checkpoint_s=checkpoint_s)
    tensors, meta = states[-1].snapshot() if states else ({}, {})
    return Run(trained, tensors, meta)


def fresh_state(training: Stage, *, chunks: int = 1) -> TrainState:
    """The state of a run that did not step yet, in its second phase."""
    state = TrainState(training, torch.device("cpu"))
    state.set_execution(chunks=chunks)
    state.now.phase = 2
    return state


def different(one: dict[str, Tensor], other: dict[str, Tensor]) -> list[str]:
    """Names of the tensors that are missing on one side or not bit-equal."""
    return sorted(
        name
        for name in one.keys() | other.keys()
        if name not in one or name not in other or not torch.equal(one[name], other[name])
    )
