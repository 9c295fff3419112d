"""Images a second of processor time that one thread augments, beside torchvision's own transforms image by image.

Both sides crop (32 px: shift by an eighth with reflection; 224 px: a zoom into a canvas of 256), mirror, draw two of
the same fourteen operations, cut a square out and end in floats. The rounds of both alternate, so that whatever else
the machine does slows them alike; the figure is the median round.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable

import torch
from torch import Tensor
from torchvision.transforms import v2

import common
from understudy.augment import DOMAINS, View, num_draws, render
from understudy.core.seeding import uniforms

ROUNDS = 15
CASES = [(32, 32, 448), (32, 32, 56), (256, 224, 64)]
"""Canvas, size and images in a batch."""


def main() -> None:
    """Measure every case and write the record."""
    argparse.ArgumentParser(description=__doc__).parse_args()
    torch.set_num_threads(1)
    started = clocks()
    result = {}
    for canvas, size, count in CASES:
        rows = make_images(count, canvas)
        for view in ("plain", "weak", "strong"):
            figures = compare(rows, view, size)
            result[f"{view} {size} px, batch of {count}"] = figures
            print(f"{view:7}{size:4} px, batch of {count:4}: {figures}")
    spent = [now - then for now, then in zip(clocks(), started, strict=True)]
    common.write("augmentation", result, seeds=[0], n=ROUNDS, seconds={"cpu_s": spent[0], "wall_s": spent[1]})


def clocks() -> tuple[float, float]:
    """Processor seconds and wall seconds, as they stand."""
    return time.process_time(), time.perf_counter()


def make_images(count: int, side: int) -> Tensor:
    """Smooth random color images; the operations cost the same on photographs."""
    coarse = torch.rand(count, 3, 8, 8, generator=torch.Generator().manual_seed(0))
    return torch.nn.functional.interpolate(coarse, size=(side, side), mode="bicubic").mul(255).clamp(0, 255).byte()


def compare(rows: Tensor, view: View, size: int) -> dict[str, float]:
    """Images per processor second of this package and of torchvision."""
    domain, transform = DOMAINS["natural"], reference(view, rows.shape[-1], size)
    step = iter(range(1_000_000))

    def ours() -> Tensor:
        draws = uniforms((len(rows), num_draws(view, domain)), "benchmark", 0, next(step))
        return render(rows, view, domain, draws, size=size)

    some = rows[:56]

    def theirs() -> Tensor:
        return torch.stack([transform(row) for row in some])

    rates: tuple[list[float], list[float]] = ([], [])
    for _ in range(ROUNDS):
        rates[0].append(rate(ours, len(rows)))
        rates[1].append(rate(theirs, len(some)))
    medians = [statistics.median(of) for of in rates]
    return {
        "images_per_cpu_s": round(medians[0]),
        "torchvision_images_per_cpu_s": round(medians[1]),
        "ratio": round(medians[0] / medians[1], 2),
    }


def rate(work: Callable[[], Tensor], count: int, *, least_s: float = 0.05) -> float:
    """Images per processor second, over at least `least_s` of work."""
    start, done = time.process_time(), 0
    while (spent := time.process_time() - start) < least_s:
        work()
        done += count
    return done / spent


def reference(view: View, canvas: int, size: int) -> v2.Transform:
    """Torchvision's transforms for the view, one image at a time."""
    as_floats = v2.ToDtype(torch.float32, scale=True)
    if view == "plain":
        return v2.Compose([v2.CenterCrop(size), as_floats])
    if canvas == size:
        window: v2.Transform = v2.RandomCrop(size, padding=size // 8, padding_mode="reflect")
    else:
        window = v2.RandomResizedCrop(size, scale=(0.5, 1.0), ratio=(1 / 1.2, 1.2), antialias=False)
    weak = [window, v2.RandomHorizontalFlip()]
    if view == "weak":
        return v2.Compose([*weak, as_floats])
    cutout = v2.RandomErasing(p=1.0, scale=(0.0, 0.25), ratio=(1.0, 1.0), value=127)
    return v2.Compose([*weak, v2.RandAugment(num_ops=2), cutout, as_floats])


if __name__ == "__main__":
    main()
