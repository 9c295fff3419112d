"""Images a second into the store, beside Pillow alone decoding and resizing the same files in as many processes.

Run it on cats and dogs at 128 px, or any folder of photos:  python benchmarks/decoding.py --data cats-dogs-128
"""

from __future__ import annotations

import argparse
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np

import common
from understudy.data.sizing import choose_for_files
from understudy.data.sources.folder import read_folder
from understudy.data.store import store
from understudy.data.table import to_names
from understudy.data.workers import num_workers

# Each process takes every n-th file; nothing is stored, hashed or reported: the least that decoding can cost.
_ALONE = """
import sys
from PIL import Image
paths, canvas = sys.stdin.read().split("\\n"), int(sys.argv[1])
for path in paths:
    image = Image.open(path)
    image.draft("RGB", (canvas, canvas))
    image = image.convert("RGB")
    side = min(image.size)
    left, top = (image.width - side) // 2, (image.height - side) // 2
    box = (left, top, left + side, top + side)
    if image.size != (canvas, canvas):
        image = image.resize((canvas, canvas), Image.Resampling.BICUBIC, box=box, reducing_gap=2.0)
    image.tobytes()
"""


def main() -> None:
    """Measure both in turn, several times, and write the record."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, required=True, help="folder of image files")
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--copies", type=int, default=4, help="times each file is decoded, so that starting up fades")
    settings = parser.parse_args()
    files = read_folder(settings.data, labeled=False)
    form = choose_for_files(files.images, None, 3)
    images = np.tile(files.images, settings.copies)
    names = to_names(f"{copy}/{name}" for copy in range(settings.copies) for name in files.names)
    paths = [str(path) for path in images]
    ours, alone = [], []
    for _ in range(settings.repeats):
        alone.append(_cost(lambda: _decode_alone(paths, form.canvas)))
        with tempfile.TemporaryDirectory() as cache:
            ours.append(_cost(lambda cache=cache: store(names, images, form, cache=cache)))
    result: dict[str, Any] = {"canvas_px": form.canvas, "copies": settings.copies, "processes": num_workers()}
    for name, costs in (("ours", ours), ("pillow_alone", alone)):
        result[name] = {
            "images_per_cpu_s": round(len(paths) / statistics.median(cost["cpu_s"] for cost in costs), 1),
            "images_per_wall_s": round(len(paths) / statistics.median(cost["wall_s"] for cost in costs), 1),
            "cpu_s": [round(cost["cpu_s"], 3) for cost in costs],
            "wall_s": [round(cost["wall_s"], 3) for cost in costs],
        }
    for unit in ("cpu_s", "wall_s"):
        ratios = [mine[unit] / bare[unit] for mine, bare in zip(ours, alone, strict=True)]
        result[f"ours_over_alone_{unit}"] = round(statistics.median(ratios), 3)
    seconds = {unit: statistics.median(cost[unit] for cost in ours) for unit in ("cpu_s", "wall_s")}
    path = common.write("decoding", result, seeds=[], n=len(paths), seconds=seconds)
    print(path.read_text(encoding="utf-8"))


def _decode_alone(paths: list[str], canvas: int) -> None:
    count = num_workers()
    command = [sys.executable, "-c", _ALONE, str(canvas)]
    processes = [subprocess.Popen(command, stdin=subprocess.PIPE, text=True) for _ in range(count)]
    for number, process in enumerate(processes):
        assert process.stdin is not None
        process.stdin.write("\n".join(paths[number::count]))
        process.stdin.close()
    for process in processes:
        if process.wait() != 0:
            raise SystemExit("the decoder alone failed on these files")


def _cost(work: Any) -> dict[str, float]:
    """Wall seconds, and CPU seconds of this process and those it started."""

    def cpu_s() -> float:
        usages = (resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
        return sum(usage.ru_utime + usage.ru_stime for usage in usages)

    os.sync()
    cpu, wall = cpu_s(), time.perf_counter()
    work()
    return {"cpu_s": cpu_s() - cpu, "wall_s": time.perf_counter() - wall}


if __name__ == "__main__":
    main()
