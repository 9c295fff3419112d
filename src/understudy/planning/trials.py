"""Short trainings, annealed to a few seconds each and tested on labeled images that none of them trains on."""

from __future__ import annotations

import dataclasses
import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from understudy.core.budget import Budget
from understudy.core.seeding import generator
from understudy.data.training_data import TrainingData
from understudy.engine.finalize import Trained
from understudy.engine.fit import fit
from understudy.engine.observers import Observer
from understudy.engine.predict import predict
from understudy.engine.stage import Settings, Stage
from understudy.evaluation.paired import compare_paired

# With 200 images two trials must differ by about 7 points before that shows; fewer show next to nothing.
MIN_HELD_OUT = 200
MIN_STEPS = 100  # shorter trainings rank settings by how fast they start
_HELD_OUT = 0.2  # of the training labels: more would leave trials too unlike the run that they stand for
MAX_HELD_OUT = 2000  # on more, differences that would decide show as well and predicting costs trials their time
_LEVEL = 0.9  # a wrong winner costs little, so that one chance in ten is enough


@dataclass(frozen=True, eq=False)
class Trial:
    """One short training.

    Args:
        right: A mask of the test images that it classifies correctly.
    """

    name: str
    trained: Trained
    right: NDArray[np.bool_]

    @property
    def accuracy(self) -> float:
        """The accuracy on the held-out rows."""
        return float(self.right.mean())

    def to_json(self) -> dict[str, Any]:
        """As plain values."""
        cost = self.trained.cost
        return {
            "name": self.name,
            "accuracy": round(self.accuracy, 4),
            "n": len(self.right),
            "steps": self.trained.steps,
            "cpu_s": round(cost.cpu_s, 2),
            "wall_s": round(cost.wall_s, 2),
        }


@dataclass
class Trials:
    """Trials on one set of images; the same one is trained once, however often it is asked for.

    Args:
        data: Without the test images the trials.
        held_out: Training images that were held out of the trials alone, or the validation images.
        budget: Of each trial.
        folder: Where finished trials are kept, so that an interrupted plan goes on.
    """

    data: TrainingData
    held_out: NDArray[np.int64]
    labels: NDArray[np.int64]
    network: nn.Module
    network_name: str
    settings: Settings
    budget: Budget
    folder: Path | None = None
    observe: Sequence[Observer] = ()
    done: dict[str, Trial] = field(default_factory=dict)

    def run(self, name: str, data: TrainingData | None = None, **changes: Any) -> Trial:
        """The trial of that name: the settings with these changes, on the images or on a changed copy of them."""
        stage = Stage(
            settings=dataclasses.replace(self.settings, **changes),
            data=data or self.data,
            network=self.network,
            budget=self.budget,
            name=f"trial {name}",
            network_name=self.network_name,
        )
        key = f"{name}-{_digest(stage)}"
        if key not in self.done:
            trained = fit(stage, None if self.folder is None else self.folder / key, observe=self.observe)
            device = next(trained.model.parameters()).device
            probabilities = predict(trained.model, stage.data, self.held_out, device=device)
            self.done[key] = Trial(name, trained, probabilities.argmax(-1) == self.labels)
        return self.done[key]

    def to_json(self) -> list[dict[str, Any]]:
        """The results of all trials as plain values."""
        return [trial.to_json() for trial in self.done.values()]


def _digest(stage: Stage) -> str:
    """A text that changes with any setting, image or view of the trial."""
    identity = repr(sorted(stage.identity().items())) + repr(stage.data.domain)
    return hashlib.blake2b(identity.encode(), digest_size=4).hexdigest()


def held_out_of(
    data: TrainingData, labels: NDArray[np.int64], seed: int
) -> tuple[TrainingData, NDArray[np.int64]] | None:
    """The training images without those that test trials, and these rows; None where there are too few labels.

    Validation images test trials where there are enough, else a fifth of the training labels.

    Args:
        labels: Of all rows; only those of training and validation rows are read.
    """
    if len(data.validation) >= MIN_HELD_OUT:
        return dataclasses.replace(
            data, validation=data.validation[:0], validation_targets=data.validation_targets[:0]
        ), data.validation
    count = min(MAX_HELD_OUT, round(_HELD_OUT * len(data.labeled)))
    if count < MIN_HELD_OUT:
        return None
    order = generator("trials", seed).permutation(len(data.labeled))
    kept = np.sort(order[count:])
    if len(np.unique(labels[data.labeled[kept]])) < len(np.unique(labels[data.labeled])):
        return None
    rest = dataclasses.replace(
        data,
        labeled=data.labeled[kept],
        targets=data.targets[torch.from_numpy(kept)],
        weight=None if data.weight is None else data.weight[torch.from_numpy(kept)],
        validation=data.validation[:0],
        validation_targets=data.validation_targets[:0],
    )
    return rest, np.sort(data.labeled[order[:count]])


def is_better(first: Trial, second: Trial) -> bool:
    """Whether the first trial is significantly better than the second, at a level of 10 %."""
    paired = compare_paired(
        np.ones(len(first.right), np.int64), second.right.astype(np.int64), first.right.astype(np.int64), level=_LEVEL
    )
    return bool(paired.interval.low > 0)


def described(trials: Mapping[str, Trial]) -> str:
    """The accuracies of the trials in words."""
    return ", ".join(f"{name} {100 * trial.accuracy:.1f} %" for name, trial in trials.items())
