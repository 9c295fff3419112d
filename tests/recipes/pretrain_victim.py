"""Pretraining and a method on images made on the spot; run as a module it is the process that tests kill."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from tests.contract.tiny import same_execution, stage, tiny, unchecked_shapes
from understudy.engine.finalize import Trained
from understudy.engine.observers import StepReport
from understudy.engine.optim import SGD
from understudy.engine.stage import Stage
from understudy.methods.fixmatch import FixMatch
from understudy.methods.simclr import SimCLR
from understudy.recipes.pretrain import Pretrain
from understudy.recipes.self_training import SelfTraining

SMALL = Pretrain(pretext=SimCLR(mu=2, ema_decay=0.5))

THEN_ROUNDS = Pretrain(
    pretext=SimCLR(mu=2, ema_decay=0.5),
    downstream=SelfTraining(num_rounds=1, teacher_share=0.4, threshold=0.35, gate=1.0),
)


def small_stage(*, labeled: int = 12, steps: int = 40, **settings: Any) -> Stage:
    """A few labeled images of three patterns, and a pool of 24."""
    data = tiny(labeled=labeled).data
    method = FixMatch(mu=2, threshold=0.4, ema_decay=0.5)
    return stage(method, steps=steps, data=data, **{"optimizer": SGD(lr=0.01), **settings})


def train(
    recipe: Pretrain, training: Stage, folder: Path | None = None, observe: Sequence[Callable[[Any], None]] = ()
) -> Trained:
    """The recipe's classifier, every run executed alike."""
    with same_execution(), unchecked_shapes():
        return recipe.train(training, folder, observe=observe)


def _slow(report: StepReport) -> None:
    time.sleep(0.3 if report.run == sys.argv[2] else 0.0)


if __name__ == "__main__":
    if sys.argv[3:] == ["rounds"]:
        train(THEN_ROUNDS, small_stage(steps=60), Path(sys.argv[1]), observe=[_slow])
    else:
        train(SMALL, small_stage(), Path(sys.argv[1]), observe=[_slow])
