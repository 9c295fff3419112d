"""Microseconds that one step of the engine takes beyond the same computations in a bare loop, on a tiny network.

The bare loop renders the same views, runs the same network, optimizer and weight average, and does nothing else. What
remains is the engine: hashing and drawing, rates, checks, decisions, snapshots, reports.
"""

from __future__ import annotations

import copy
import os
import time

os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy as np
import torch
import torch.nn.functional as F
from torch import nn

from common import summary, write
from understudy import Budget, Settings, Stage, fit
from understudy.augment import DOMAINS, num_draws
from understudy.data.training_data import TrainingData
from understudy.engine.observers import StepReport
from understudy.engine.optim import SGD
from understudy.methods.supervised import Supervised

ROUNDS, STEPS = 10, 1000
BATCH = 16


def main() -> None:
    """Measure both loops in turn and write the record."""
    random = np.random.default_rng(0)
    data = TrainingData(
        rows=torch.from_numpy(random.normal(size=(256, 2)).astype(np.float32)),
        labeled=np.arange(256),
        targets=torch.from_numpy(random.integers(0, 2, 256)),
        unlabeled=np.zeros(0, dtype=np.int64),
        classes=("a", "b"),
        domain=DOMAINS["vector"],
        scale=torch.ones(2),
    )
    network = nn.Sequential(nn.Linear(2, 16), nn.ReLU(), nn.Linear(16, 2))
    bare, ours = [], []
    for _ in range(ROUNDS):
        bare.append(bare_loop(copy.deepcopy(network), data))
        ours.append(our_loop(network, data))
    overhead = [b - a for a, b in zip(bare, ours, strict=True)]
    print(f"least of each: bare {min(bare):.1f}, ours {min(ours):.1f} us a step")
    result = {name: summary(values) for name, values in (("bare", bare), ("ours", ours), ("overhead", overhead))}
    for name, line in result.items():
        print(f"{name:>9}: {line['mean']:.1f} us a step (standard deviation {line['std']:.1f})")
    write("engine_overhead", result, seeds=[0], n=ROUNDS * STEPS, seconds={"cpu_s": time.process_time()})


def bare_loop(network: nn.Module, data: TrainingData) -> float:
    """Microseconds of processor time a step."""
    average = copy.deepcopy(network)
    values, averages = list(network.parameters()), list(average.parameters())
    optimizer = torch.optim.SGD(values, lr=0.03, momentum=0.9, nesterov=True, weight_decay=5e-4, fused=True)
    draws = np.random.default_rng(0).random((BATCH, num_draws("weak", data.domain)), dtype=np.float32)
    order = np.random.default_rng(0).integers(0, len(data.labeled), (STEPS, BATCH))
    begun = time.process_time()
    for ids in order:
        x = data.render(ids, "weak", draws, device=torch.device("cpu"))
        loss = F.cross_entropy(network(x), data.targets[torch.from_numpy(ids)])
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        optimizer.step()
        with torch.no_grad():
            torch._foreach_lerp_(averages, values, 0.001)
    return (time.process_time() - begun) / STEPS * 1e6


def our_loop(network: nn.Module, data: TrainingData) -> float:
    """Microseconds of processor time a step, from the second step to the last."""
    marks: list[float] = []

    def mark(report: StepReport) -> None:  # reading the processor's clock at every step would cost more than the engine
        if report.step.index in (0, STEPS):
            marks.append(time.process_time())

    settings = Settings(method=Supervised(), optimizer=SGD(), batch_size=BATCH, labeled_view="weak")
    stage = Stage(settings=settings, data=data, network=network, budget=Budget(steps=STEPS + 1))
    fit(stage, observe=[mark])
    return (marks[-1] - marks[0]) / STEPS * 1e6


if __name__ == "__main__":
    main()
