"""Five rounds of self-training on images made on the spot; run as a module it is the process that tests kill."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np

from tests.contract.tiny import same_execution, stage, tiny, unchecked_shapes
from understudy.engine.finalize import Trained
from understudy.engine.observers import StepReport
from understudy.engine.optim import SGD
from understudy.engine.stage import Stage
from understudy.methods.supervised import Supervised
from understudy.recipes.parts import pool_labels
from understudy.recipes.rounds import Rounds
from understudy.recipes.self_training import SelfTraining

FIVE = SelfTraining(num_rounds=5, threshold=0.4, min_changed=0.0, gate=1.0)


def small_stage(*, labeled: int = 12, validation: int = 0, steps: int = 60, **settings: Any) -> Stage:
    """A few labeled images of three patterns, and a pool of 48."""
    data = tiny(labeled=labeled, unlabeled=48, validation=validation).data
    return stage(Supervised(ema_decay=0.5), steps=steps, data=data, **{"optimizer": SGD(lr=0.01), **settings})


def train(
    recipe: Rounds, training: Stage, folder: Path | None = None, observe: Sequence[Callable[[Any], None]] = ()
) -> Trained:
    """The recipe's classifier, every run executed alike."""
    with same_execution(), unchecked_shapes():
        return recipe.train(training, folder, observe=observe)


def with_pool_predictions(probs: list[float], varied: bool = False) -> Any:
    """A patch that predicts all unlabeled images alike, or each third as another class."""

    def predicted(network: Any, data: Any, ids: Any, **options: Any) -> Any:
        rows = np.tile(np.array(probs, np.float32), (len(ids), 1))
        return np.stack([np.roll(row, number) for number, row in enumerate(rows)]) if varied else rows

    return mock.patch.object(pool_labels, "predict", predicted)


def _slow_third_round(report: StepReport) -> None:
    time.sleep(0.5 if report.run == "round 3" else 0.0)


if __name__ == "__main__":
    train(FIVE, small_stage(), Path(sys.argv[1]), observe=[_slow_third_round])
