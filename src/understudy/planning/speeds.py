"""The training speed of this machine: rows rendered, run forward and backward per second."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from torch import nn

from understudy.augment import Domain, num_draws, render
from understudy.engine.execution import free_cores, has_fast_bfloat16
from understudy.models.nets import Execution, running

_MIN_REPEATS, _MAX_REPEATS = 2, 8  # two allow for one disturbed step; more than eight say little more
# Below a quarter of a second the first steps vary too much to predict anything; whole batches are measured then.
_MIN_LIMIT_S = 0.25
_FEW_ROWS, _MORE_ROWS = 4, 16  # two batch sizes separate the cost of a row from that of a step


@dataclass(frozen=True)
class Speed:
    """The training speed of a network.

    Args:
        rows_per_s: Rows per second, each with a strong view, a forward and a backward pass.
    """

    network: str
    size: int
    batch_size: int
    rows_per_s: float

    def to_json(self) -> dict[str, object]:
        """As plain values."""
        return {
            "network": self.network,
            "size": self.size,
            "batch_size": self.batch_size,
            "rows_per_s": round(self.rows_per_s, 1),
        }


def training_speed(
    network: nn.Module,
    name: str,
    shape: tuple[int, ...],
    domain: Domain,
    *,
    canvas: int,
    batch_size: int,
    device: torch.device,
    clock: Callable[[], float],
    limit_s: float,
) -> Speed:
    """The speed of a network on random rows of this shape, in the faster of the available number formats.

    Args:
        network: The network, which is moved to the device and keeps its gradients.
        canvas: Side of the stored images in px.
        limit_s: Time limit. On a processor, small batches predict the time of a whole one, and a batch that would take
            longer is cut; at least three steps are taken.
    """
    if device.type == "cpu":
        torch.set_num_threads(free_cores())
    images = len(shape) == 3
    ways = [Execution(channels_last=images)]
    if device.type == "cuda" or (images and has_fast_bfloat16()):
        ways.append(Execution(dtype="bfloat16", channels_last=images))
    random = np.random.default_rng(0)
    stored = (shape[0], canvas, canvas) if images else shape
    pixels = random.integers(0, 256, (batch_size, *stored), dtype=np.uint8)
    rows = torch.from_numpy(pixels if images else pixels.astype(np.float32)).to(device)
    draws = random.random((batch_size, num_draws("strong", domain)), dtype=np.float32)
    targets = torch.zeros(batch_size, dtype=torch.long, device=device)
    network = network.to(device).train()

    def step(way: Execution, count: int = batch_size) -> float:
        begun = clock()
        x = render(rows[:count], "strong", domain, draws[:count], size=shape[-1] if images else 0)
        with running(way, x) as laid_out:
            logits = network(laid_out)
        F.cross_entropy(logits.float(), targets[:count]).backward()  # type: ignore[no-untyped-call]
        if device.type == "cuda":
            torch.cuda.synchronize(device)
        return clock() - begun

    begun, count = clock(), batch_size
    per_row = 0.0
    if device.type == "cpu" and batch_size > _MORE_ROWS:
        few = max(min(step(way, _FEW_ROWS) for _ in range(2)) for way in ways)  # the first of two steps warms up
        more = max(step(way, _MORE_ROWS) for way in ways)
        per_row = max(0.0, more - few) / (_MORE_ROWS - _FEW_ROWS)
        room = (max(limit_s, _MIN_LIMIT_S) - (clock() - begun)) / ((1 + _MIN_REPEATS) * len(ways)) - (
            few - _FEW_ROWS * per_row
        )
        count = min(batch_size, max(_MORE_ROWS, int(room / max(per_row, 1e-9))))
        begun = clock()  # the few rows took little, and the fastest of many whole steps is what counts
    times: dict[int, list[float]] = {number: [step(way, count)] for number, way in enumerate(ways)}
    for repeat in range(_MAX_REPEATS):
        if repeat >= _MIN_REPEATS and clock() - begun > limit_s:
            break
        for number, way in enumerate(ways):
            times[number].append(step(way, count))
    fastest = min(min(seconds[1:]) for seconds in times.values())
    fastest += per_row * (batch_size - count)  # a smaller batch pays a step's fixed cost for fewer rows
    return Speed(name, shape[-1] if images else 0, batch_size, batch_size / max(fastest, 1e-6))
