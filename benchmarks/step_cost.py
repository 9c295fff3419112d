"""Processor seconds of one FixMatch step on WRN-28-2 with 8 labeled and 56 unlabeled images, beside the usual way.

The usual way, in plain torch, is the reference implementations': labeled, weak and strong images in one forward pass
with gradient, in float32. Ours predicts weak images without gradient and skips strong images that do not count.
"""

from __future__ import annotations

import copy
import os
import time

os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy as np
import torch
import torch.nn.functional as F

from common import summary, write
from understudy import Budget, Settings, Stage, fit
from understudy.augment import DOMAINS
from understudy.data.training_data import TrainingData
from understudy.engine.optim import SGD
from understudy.methods.fixmatch import FixMatch
from understudy.models import build

ROUNDS, STEPS, SKIP = 4, 8, 2
LABELED, MU = 8, 7


def main() -> None:
    """Measure the three ways in turn and write the record."""
    random = np.random.default_rng(0)
    rows = torch.from_numpy(random.integers(0, 256, (512, 3, 32, 32), dtype=np.uint8))
    data = TrainingData(
        rows=rows,
        labeled=np.arange(64),
        targets=torch.from_numpy(random.integers(0, 10, 64)),
        unlabeled=np.arange(64, 512),
        classes=tuple("0123456789"),
        domain=DOMAINS["natural"],
        size=32,
    )
    torch.manual_seed(0)
    network = build("wrn_28_2", shape=(3, 32, 32), num_classes=10)
    seconds: dict[str, list[float]] = {"usual way": [], "ours, nothing masked": [], "ours, everything masked": []}
    for _ in range(ROUNDS):
        seconds["usual way"] += usual_steps(copy.deepcopy(network))
        # With threshold 0 every strong image counts; an untrained network never reaches threshold 1.
        seconds["ours, nothing masked"] += our_steps(network, data, FixMatch(threshold=0.0, mu=MU))
        seconds["ours, everything masked"] += our_steps(network, data, FixMatch(threshold=1.0, mu=MU))
    result = {name: summary(values) | {"median": float(np.median(values))} for name, values in seconds.items()}
    for name, line in result.items():
        print(f"{name:>26}: median {line['median']:.3f} CPU-s a step, least {min(seconds[name]):.3f}")
    write("step_cost", result, seeds=[0], n=len(seconds["usual way"]), seconds={"cpu_s": time.process_time()})


def usual_steps(network: torch.nn.Module) -> list[float]:
    """CPU seconds of each step of the reference implementations' loop, on ready-made tensors."""
    average = copy.deepcopy(network)
    optimizer = torch.optim.SGD(network.parameters(), lr=0.03, momentum=0.9, nesterov=True, weight_decay=5e-4)
    unlabeled = LABELED * MU
    images, labels = torch.rand(LABELED + 2 * unlabeled, 3, 32, 32), torch.zeros(LABELED, dtype=torch.long)
    times = []
    for _ in range(STEPS):
        begun = time.process_time()
        logits, weak, strong = network(images).split([LABELED, unlabeled, unlabeled])
        confidence, target = weak.detach().softmax(-1).max(-1)
        mask = (confidence >= 0.0).float()
        loss = F.cross_entropy(logits, labels) + (mask * F.cross_entropy(strong, target, reduction="none")).mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        with torch.no_grad():
            for mean, value in zip(average.parameters(), network.parameters(), strict=True):
                mean.lerp_(value, 0.001)
        times.append(time.process_time() - begun)
    return times[SKIP:]


def our_steps(network: torch.nn.Module, data: TrainingData, method: FixMatch) -> list[float]:
    """CPU seconds of each step of our loop: drawing, rendering, prediction, training, averaging."""
    settings = Settings(method=method, optimizer=SGD(), batch_size=LABELED, labeled_view="weak", warmup=0.0)
    marks: list[float] = []
    stage = Stage(settings=settings, data=data, network=network, budget=Budget(steps=STEPS))
    fit(stage, observe=[lambda _: marks.append(time.process_time())])
    return list(np.diff(marks)[SKIP - 1 :])


if __name__ == "__main__":
    main()
