"""CIFAR-10 with few labels at a fixed cost of one run: the default method and, beside it, supervised at equal cost.

`--task article` is 5,000 labels and 20,000 unlabeled images in the articles' split, `--task mobilenet` the same for the
articles' network; `--task 1000` is 1,000 stratified labels and all other training images.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

import numpy as np

import runs
from common import cifar10_article_split, cifar10_split, summary, write
from understudy.evaluation.paired import compare_paired

TASKS: dict[str, dict[str, Any]] = {
    "article": {"budget": "1200cpu-s", "batch_size": 128, "mu": 1, "warmup": 0.5},
    "mobilenet": {
        "budget": "1440cpu-s",
        "batch_size": 64,
        "mu": 2,
        "warmup": 0.3,
        "network": "mobilenet_v1",
        "optimizer": {"name": "sgd", "lr": 0.03},
    },
    "1000": {"budget": "1440cpu-s", "batch_size": 64, "mu": 3, "warmup": 0.3},
}


def main() -> None:
    """Train both runs for every seed and write the record."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, required=True, help="folder with train/<class>/* and test/<class>/*")
    parser.add_argument("--task", choices=list(TASKS), default="article")
    parser.add_argument("--budget", help="of one run; the task's own when not given")
    parser.add_argument("--seeds", type=int, default=1)
    parser.add_argument("--jobs", type=int, default=2, help="runs at a time, one thread each")
    arguments = parser.parse_args()
    task = TASKS[arguments.task]
    budget = arguments.budget or task["budget"]
    tasks = [
        (arguments.data, arguments.task, seed, method, budget)
        for seed in range(arguments.seeds)
        for method in ("supervised", "softmatch")
    ]
    results = runs.run_all(tasks, train, arguments.jobs)
    by_method: dict[str, Any] = {}
    for method in ("supervised", "softmatch"):
        lines = [line for asked, line in zip(tasks, results, strict=True) if asked[3] == method]
        by_method[method] = {name: summary([line[name] for line in lines]) for name in lines[0] if is_figure(name)}
        by_method[method] |= {"execution": lines[0]["execution"], "pseudo_labels": lines[0]["pseudo_labels"]}
        print(method, by_method[method]["accuracy"], by_method[method]["steps"], flush=True)
    n = len(results[0]["right"])
    paired = paired_over_test_images(results)
    print("paired", paired)
    cost = {clock: sum(line[clock] for line in results) / len(results) for clock in ("cpu_s", "wall_s")}
    result = {"task": task, "budget": budget, "runs": by_method, "paired": paired}
    write(f"cifar10_{arguments.task}", result, seeds=list(range(arguments.seeds)), n=n, seconds=cost)


def is_figure(name: str) -> bool:
    """Whether a field of a run is a number to summarize."""
    return name in ("accuracy", "accuracy_test_time_averaging", "steps", "cpu_s", "wall_s")


def paired_over_test_images(results: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """For each seed, McNemar's test and the interval of the difference over the same test images."""
    lines = []
    for supervised, method in zip(results[::2], results[1::2], strict=True):
        first, second = (np.array(line["right"], dtype=int) for line in (supervised, method))
        paired = compare_paired(np.ones_like(first), first, second)
        interval = [paired.interval.low, paired.interval.high]
        lines.append({"difference": paired.difference, "interval": interval, "p": paired.p_value})
    return lines


def train(folder: Path, task: str, seed: int, method: str, budget: str) -> dict[str, Any]:
    """One run."""
    arrays = cifar10_split(folder, int(task), seed) if task.isdigit() else cifar10_article_split(folder)
    chosen = TASKS[task]
    shared = ("batch_size", "warmup", "network", "optimizer")
    options: dict[str, Any] = {"seed": seed} | {name: chosen[name] for name in shared if name in chosen}
    options["method"] = {"name": method} | ({} if method == "supervised" else {"mu": chosen["mu"]})
    return runs.run(arrays, budget, options)


if __name__ == "__main__":
    main()
