"""Processor seconds of one step of the semi-supervised GAN, its generator's own apart, in supervised steps.

Supervised steps are of the same discriminator: of as many rows as one of the GAN's streams, and of as many as its
labeled and unlabeled streams together. All take turns on the same images.
"""

from __future__ import annotations

import argparse
import copy
import os
import time
from itertools import pairwise
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy as np
import torch
from torch import nn

from common import summary, write
from understudy import Budget, Settings, Stage, fit
from understudy.augment import DOMAINS
from understudy.data.training_data import TrainingData
from understudy.engine.optim import SGD
from understudy.methods.base import Method
from understudy.methods.sgan import SGAN
from understudy.methods.supervised import Supervised
from understudy.models import build
from understudy.models.generators import generator

STEPS, SKIP, ROWS = 30, 3, 32
SHARES = (1.0, 0.5)


def main() -> None:
    """Measure all in turn, several times, and write the record."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=4)
    parser.add_argument("--dtype", default="float32", choices=("float32", "bfloat16"))
    arguments = parser.parse_args()
    rounds, dtype = arguments.rounds, arguments.dtype
    table: dict[str, Any] = {}
    for name, size in (("resnet_small", 32), ("resnet_small", 64)):
        torch.manual_seed(0)
        network = build(name, shape=(3, size, size), num_classes=10)
        data = images(size)
        seconds: dict[str, list[float]] = {}
        for _ in range(rounds):
            for rows in (ROWS, 2 * ROWS):
                seconds.setdefault(f"supervised, {rows} rows", []).extend(
                    steps(network, data, Supervised(), rows, dtype)
                )
            for share in SHARES:
                gan, own = f"gan, {share:g} generated per unlabeled row", f"generator alone, {share:g}"
                seconds.setdefault(gan, []).extend(steps(network, data, SGAN(generated=share), ROWS, dtype))
                seconds.setdefault(own, []).extend(generator_steps(size, round(share * ROWS), dtype))
        median = {key: float(np.median(values)) for key, values in seconds.items()}
        line: dict[str, Any] = {"cpu_s": {key: summary(values) for key, values in seconds.items()}}
        for share in SHARES:
            rest = median[f"gan, {share:g} generated per unlabeled row"] - median[f"generator alone, {share:g}"]
            line[f"{share:g} generated per unlabeled row"] = {
                "supervised steps of one stream": round(rest / median[f"supervised, {ROWS} rows"], 2),
                "supervised steps of labeled and unlabeled rows": round(
                    rest / median[f"supervised, {2 * ROWS} rows"], 2
                ),
            }
        table[f"{name}, {size} px"] = line
        print(name, size, {key: value for key, value in line.items() if key != "cpu_s"}, median, flush=True)
    write("gan_step", table, seeds=[0], n=rounds, seconds={"cpu_s": time.process_time()})


def images(size: int) -> TrainingData:
    """Noise with classes drawn at random: a step costs the same on any images."""
    random = np.random.default_rng(0)
    return TrainingData(
        rows=torch.from_numpy(random.integers(0, 256, (512, 3, size, size), dtype=np.uint8)),
        labeled=np.arange(128),
        targets=torch.from_numpy(random.integers(0, 10, 128)),
        unlabeled=np.arange(128, 512),
        classes=tuple("0123456789"),
        domain=DOMAINS["natural"],
        size=size,
    )


def steps(network: nn.Module, data: TrainingData, method: Method[Any], batch_size: int, dtype: str) -> list[float]:
    """CPU seconds of each step of a run, but for those that also evaluate and make pictures."""
    settings = Settings(
        method=method, optimizer=SGD(), batch_size=batch_size, labeled_view="weak", warmup=0.0, dtype=dtype
    )
    marks: list[tuple[float, bool]] = []
    stage = Stage(settings=settings, data=data, network=copy.deepcopy(network), budget=Budget(steps=STEPS))
    fit(stage, observe=[lambda report: marks.append((time.process_time(), report.evaluation is None))])
    return [after - before for (before, _), (after, is_plain) in pairwise(marks[SKIP - 1 :]) if is_plain]


def generator_steps(size: int, rows: int, dtype: str) -> list[float]:
    """CPU seconds of what the GAN asks of its generator in a step: rows, and its own training."""
    network = generator((3, size, size), SGAN().latent_width)
    optimizer = torch.optim.SGD(network.parameters(), lr=0.03, momentum=0.9, nesterov=True, fused=True)
    latents, found = torch.randn(rows, SGAN().latent_width), []
    for _ in range(STEPS // 2):
        begun = time.process_time()
        optimizer.zero_grad()
        with torch.autocast("cpu", torch.bfloat16, enabled=dtype == "bfloat16"):
            made = network(latents)
        made.float().square().mean().backward()
        optimizer.step()
        found.append(time.process_time() - begun)
    return found[SKIP:]


if __name__ == "__main__":
    main()
