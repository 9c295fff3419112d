"""Scikit-learn's digits with 20, 40 and 100 labels: the default method against supervised at equal cost, 10 splits.

The splits are those of `digits_reference.py`, which measures scikit-learn's own semi-supervised estimators.
"""

from __future__ import annotations

import argparse
from typing import Any

import runs
from common import digits_split, summary, write

LABELS = (20, 40, 100)
METHODS = ("supervised", "softmatch")
OPTIONS = {"domain": "digits", "batch_size": 32}


def main() -> None:
    """Train every run and write the record."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--budget", default="30cpu-s", help="of one run")
    parser.add_argument("--seeds", type=int, default=10)
    parser.add_argument("--jobs", type=int, default=2, help="runs at a time, one thread each")
    arguments = parser.parse_args()
    tasks = [(n, s, m, arguments.budget) for n in LABELS for s in range(arguments.seeds) for m in METHODS]
    results = runs.run_all(tasks, train, arguments.jobs)
    table: dict[str, Any] = {}
    for num_labels in LABELS:
        lines = {
            method: [r for t, r in zip(tasks, results, strict=True) if t[0] == num_labels and t[2] == method]
            for method in METHODS
        }
        accuracy = {method: [line["accuracy"] for line in found] for method, found in lines.items()}
        gains = [b - a for a, b in zip(*accuracy.values(), strict=True)]
        table[str(num_labels)] = {
            **{method: summary(values) for method, values in accuracy.items()},
            "gain": summary(gains),
            "cpu_s": {method: summary([line["cpu_s"] for line in found]) for method, found in lines.items()},
            "steps": {method: summary([line["steps"] for line in found]) for method, found in lines.items()},
        }
        print(num_labels, {name: table[str(num_labels)][name]["mean"] for name in (*METHODS, "gain")}, flush=True)
    cost = {clock: sum(line[clock] for line in results) / len(results) for clock in ("cpu_s", "wall_s")}
    write("digits", {"options": OPTIONS, "by_labels": table}, seeds=list(range(arguments.seeds)), n=500, seconds=cost)


def train(num_labels: int, seed: int, method: str, budget: str) -> dict[str, Any]:
    """One run on one split."""
    return runs.run(digits_split(num_labels, seed), budget, {"method": method, "seed": seed, **OPTIONS})


if __name__ == "__main__":
    main()
