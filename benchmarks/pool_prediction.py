"""How near pool prediction comes to the rate of the bare network on the same decoded images, in images per CPU-s.

The bare network is given floats that are ready and laid out as the arithmetic wants them, in batches of the same size:
its forward, nothing else. Ours fetches the uint8 rows, makes floats of them, and keeps a table of labels. Both run in
turn, in one process and one thread, in the arithmetic in which the bare network is fastest here.
"""

from __future__ import annotations

import os
import time
from dataclasses import asdict, dataclass
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy as np
import torch
from torch import Tensor, nn

from common import summary, write
from understudy.augment import DOMAINS
from understudy.data.training_data import TrainingData
from understudy.engine import predict
from understudy.engine.execution import _has_fast_bfloat16, keep_freed_memory
from understudy.models import build
from understudy.models.nets import Execution, running
from understudy.recipes.parts.pool_labels import predict_pool

AIM = 0.85
ROUNDS, SECONDS = 5, 0.5
CPU = torch.device("cpu")


@dataclass(frozen=True)
class Case:
    """A network, and images of `size` px in the middle of a canvas that may be larger."""

    network: str
    size: int
    canvas: int
    channels: int = 3

    def __str__(self) -> str:
        return f"{self.network}, {self.size} px" + (f" of {self.canvas}" if self.canvas > self.size else "")


CASES = (
    Case("cnn", 8, 8, channels=1),
    Case("resnet_small", 32, 32),
    Case("resnet_small", 64, 64),
    Case("resnet_small", 112, 128),
    Case("resnet18", 224, 256),
)


def main() -> None:
    """Measure every case and write the record."""
    torch.set_num_threads(1)
    keep_freed_memory()
    result, counts, begun = {}, {}, time.process_time()
    for case in CASES:
        line, counts[str(case)] = measured(case)
        result[str(case)] = line
        rates = ", ".join(f"{name} {line[name]['mean']:,.1f}" for name in ("bare", "ours"))
        print(f"{case!s:<28} {rates} images per CPU-s; share {line['share']['mean']:.3f}", flush=True)
    missed = [name for name, line in result.items() if line["share"]["mean"] < AIM]
    print(f"under the aim of {AIM}: {'; '.join(missed) or 'none'}")
    write("pool_prediction", result, seeds=[0], n=counts, seconds={"cpu_s": time.process_time() - begun})


def measured(case: Case) -> tuple[dict[str, Any], int]:
    """Both rates and ours as a share of the bare one, and on how many images they were measured each time."""
    torch.manual_seed(0)
    network = build(case.network, shape=(case.channels, case.size, case.size), num_classes=10).eval()
    width = case.channels * case.size**2
    batch = min(predict._ROWS_AT_ONCE, predict._PIXELS_AT_ONCE // width)
    shape = (batch, case.channels, case.canvas, case.canvas)
    rows = torch.from_numpy(np.random.default_rng(0).integers(0, 256, shape, dtype=np.uint8))
    ways = [Execution(), Execution(channels_last=True)]
    if _has_fast_bfloat16():
        ways.append(Execution(dtype="bfloat16", channels_last=True))
    ready = [[laid_out(pool_of(case, rows), way)] for way in ways]
    spent = [min(bare(network, x, way) for _ in range(3)) for x, way in zip(ready, ways, strict=True)]
    execution, x = ways[int(np.argmin(spent))], ready[int(np.argmin(spent))][0]
    times = max(1, round(SECONDS / min(spent)))
    data, batches = pool_of(case, rows.repeat(times, 1, 1, 1)), [x.clone() for _ in range(min(times, 8))]
    batches = [batches[number % len(batches)] for number in range(times)]
    count = len(data.unlabeled)
    ours(network, data, execution)
    rates = [(count / bare(network, batches, execution), count / ours(network, data, execution)) for _ in range(ROUNDS)]
    result = {"bare": summary([a for a, _ in rates]), "ours": summary([b for _, b in rates])}
    share = summary([b / a for a, b in rates])
    return {**result, "share": share, "batch_size": batch, "execution": asdict(execution)}, count


def pool_of(case: Case, rows: Tensor) -> TrainingData:
    """The images as a pool."""
    return TrainingData(
        rows=rows,
        labeled=np.zeros(0, np.int64),
        targets=torch.zeros(0, dtype=torch.long),
        unlabeled=np.arange(len(rows)),
        classes=tuple("0123456789"),
        domain=DOMAINS["natural"],
        size=case.size,
    )


def laid_out(data: TrainingData, execution: Execution) -> Tensor:
    """All the images as the network gets them."""
    with running(execution, data.render(data.unlabeled, "plain", device=CPU)) as x:
        return x


@torch.no_grad()
def bare(network: nn.Module, batches: list[Tensor], execution: Execution) -> float:
    """Processor seconds of the network alone."""
    begun = time.process_time()
    for batch in batches:
        with running(execution, batch) as x:
            network(x)
    return time.process_time() - begun


def ours(network: nn.Module, data: TrainingData, execution: Execution) -> float:
    """Processor seconds of labeling the pool."""
    begun = time.process_time()
    predict_pool(network, data, soft=False, device=CPU, execution=execution)
    return time.process_time() - begun


if __name__ == "__main__":
    main()
