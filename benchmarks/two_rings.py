"""Accuracy of each method of the two-rings example on fresh points, over draws of points, labels and weights.

python benchmarks/two_rings.py [--seeds 5]
"""

from __future__ import annotations

import argparse
import os
import sys
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")
sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "examples"))

from common import summary, write
from two_rings import METHOD_SETTINGS, NUM_LABELS, NUM_POINTS, NUM_STEPS, NUM_TEST, train


def main() -> None:
    """Train every method on every draw, and write the record."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=5)
    seeds = range(parser.parse_args().seeds)
    accuracies: dict[str, list[float]] = {name: [] for name in METHOD_SETTINGS}
    seconds: dict[str, list[float]] = {name: [] for name in METHOD_SETTINGS}
    for seed in seeds:
        for name in METHOD_SETTINGS:
            drawn = train(name, seed)
            accuracies[name].append(drawn.accuracy)
            seconds[name].append(drawn.cpu_s)
            print(seed, name, round(drawn.accuracy, 4), round(drawn.cpu_s, 1), flush=True)
    result: dict[str, Any] = {
        name: {
            "settings": METHOD_SETTINGS[name],
            "accuracy": summary(accuracies[name]),
            "cpu_s": summary(seconds[name]),
        }
        for name in METHOD_SETTINGS
    }
    n = {"labels": NUM_LABELS, "unlabeled": NUM_POINTS - NUM_LABELS, "test": NUM_TEST, "steps": NUM_STEPS}
    total = sum(map(sum, seconds.values()))
    write("two_rings", result, seeds=list(seeds), n=n, seconds={"cpu_s": total})


if __name__ == "__main__":
    main()
