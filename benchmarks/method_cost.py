"""Processor seconds of one step of every method, in supervised steps of as many labeled images, and beside FixMatch.

All methods take turns on the same images and network, 16 labeled and 112 unlabeled rows a step (mu 7, the papers'
ratio). A method that skips images costs less while few of them count, so each is measured with a network that is sure
of everything and with one that is sure of nothing.
"""

from __future__ import annotations

import copy
import os
import time
from dataclasses import replace
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy as np
import torch
from torch import nn

from common import summary, write
from understudy import Budget, Settings, Stage, fit
from understudy.augment import DOMAINS
from understudy.core.config import knobs
from understudy.data.training_data import TrainingData
from understudy.engine.optim import SGD
from understudy.methods.base import METHODS, Method
from understudy.models import build, find_head

ROUNDS, STEPS, SKIP = 3, 6, 2
LABELED, MU = 16, 7
SURE = {"all count": 1000.0, "few count": 0.001}


def main() -> None:
    """Measure every method in turn, several times, and write the record."""
    random = np.random.default_rng(0)
    data = TrainingData(
        rows=torch.from_numpy(random.integers(0, 256, (1024, 3, 32, 32), dtype=np.uint8)),
        labeled=np.arange(128),
        targets=torch.from_numpy(random.integers(0, 10, 128)),
        unlabeled=np.arange(128, 1024),
        classes=tuple("0123456789"),
        domain=DOMAINS["natural"],
        size=32,
    )
    torch.manual_seed(0)
    network = build("resnet_small", shape=(3, 32, 32), num_classes=10)
    seconds: dict[tuple[str, str], list[float]] = {}
    names = [name for name in METHODS.names() if not METHODS.get(name).pretext]
    for _ in range(ROUNDS):
        for name in names:
            for state, factor in SURE.items():
                method = METHODS.get(name)()
                method = replace(method, mu=MU) if "mu" in knobs(type(method)) else method
                seconds.setdefault((name, state), []).extend(steps(scaled(network, factor), data, method))
    median = {key: float(np.median(values)) for key, values in seconds.items()}
    result: dict[str, Any] = {}
    for name in names:
        result[name] = {
            state: {
                "cpu_s": summary(seconds[name, state]),
                "of_supervised": round(median[name, state] / median["supervised", state], 2),
                "of_fixmatch": round(median[name, state] / median["fixmatch", state], 3),
            }
            for state in SURE
        }
        print(
            f"{name:>24}",
            *(
                f"{s}: {result[name][s]['of_supervised']:6.2f} supervised steps, "
                f"{result[name][s]['of_fixmatch']:5.2f} FixMatch steps"
                for s in SURE
            ),
            sep="   ",
            flush=True,
        )
    write("method_cost", result, seeds=[0], n=ROUNDS * (STEPS - SKIP), seconds={"cpu_s": time.process_time()})


def scaled(network: nn.Module, factor: float) -> nn.Module:
    """A copy whose logits are so many times larger: sure of everything, or of nothing."""
    network = copy.deepcopy(network)
    with torch.no_grad():
        find_head(network)[1].weight.mul_(factor)
    return network


def steps(network: nn.Module, data: TrainingData, method: Method[Any]) -> list[float]:
    """CPU seconds of each step: drawing, rendering, prediction, training, averaging."""
    # No rate: the network stays as sure as it was made.
    settings = Settings(
        method=method, optimizer=SGD(lr=0.0), batch_size=LABELED, labeled_view="weak", warmup=0.0, dtype="float32"
    )
    marks: list[float] = []
    stage = Stage(settings=settings, data=data, network=network, budget=Budget(steps=STEPS))
    fit(stage, observe=[lambda _: marks.append(time.process_time())])
    return list(np.diff(marks)[SKIP - 1 :])


if __name__ == "__main__":
    main()
