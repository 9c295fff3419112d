"""The best of twenty hand-made settings, each trained at the same cost: what a planner is measured against.

Digits with 40 labels, cats and dogs with 100 (`--cats-dogs PATH`), CIFAR-10 with 250 and 5,000 (`--cifar10 PATH`). The
best is picked by its test accuracy, which flatters the grid. Finished runs are kept in `--folder`.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator
from itertools import product
from pathlib import Path
from typing import Any

import runs
from common import COMMIT_AT_START, Arrays, cifar10_split, digits_split, hide, write

TASKS = {"digits_40": 15, "cifar10_250": 60, "cifar10_5000": 60, "cats_dogs_100": 40}  # CPU seconds of one run


def settings(task: str) -> Iterator[dict[str, Any]]:
    """The twenty settings of a task, as options of `understudy.train`; `size` is the side the images are loaded at."""
    if task == "digits_40":
        methods = ("supervised", "softmatch", "freematch", "mixmatch", "vat")
        for method, network, batch_size in product(methods, ("resnet_small", "cnn"), (32, 64)):
            yield {"domain": "digits", "network": network, "batch_size": batch_size, "method": method}
    elif task == "cats_dogs_100":
        for size, network, method in product(
            (32, 64, 112), ("resnet_small", "resnet_medium"), ("supervised", "softmatch", "freematch")
        ):
            yield {"size": size, "network": network, "method": method}
        for method in ("supervised", "freematch"):
            yield {"size": 64, "network": "resnet_small", "method": method, "optimizer": {"name": "muon", "lr": 0.03}}
    else:
        sizes = (32, 64) if task == "cifar10_250" else (64, 128)
        methods = ("supervised", "softmatch", "freematch", "pseudo_label")
        for method, network, batch_size in product(methods, ("resnet_small", "resnet_medium"), sizes):
            yield {"network": network, "batch_size": batch_size, "method": method}
        for method, lr in product(("supervised", "softmatch"), (0.03, 0.12)):
            optimizer = {"name": "muon", "lr": lr}
            yield {"network": "resnet_small", "batch_size": sizes[0], "method": method, "optimizer": optimizer}


def draw(task: str, seed: int, size: int, folders: dict[str, Path | None]) -> Arrays:
    """The images of a task, other labels hidden for each seed."""
    if task == "digits_40":
        return digits_split(40, seed)
    family = task.rpartition("_")[0]
    folder = folders[family]
    assert folder is not None
    num_labels = int(task.rpartition("_")[2])
    if family == "cifar10":
        return cifar10_split(folder, num_labels, seed)
    from understudy import load
    from understudy.data.collection import Part

    collection = load(folder, size=size)
    test = collection.parts == Part.TEST
    rows, labels = collection.rows.numpy(), collection.labels
    return Arrays(rows[~test], hide(labels[~test], num_labels, seed), labels[~test], rows[test], labels[test])


def main() -> None:
    """Train every run that is missing, and write the record."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--tasks", nargs="+", choices=TASKS, default=list(TASKS))
    parser.add_argument("--cats-dogs", type=Path)
    parser.add_argument("--cifar10", type=Path)
    parser.add_argument("--seeds", type=int, default=1)
    parser.add_argument("--jobs", type=int, default=1, help="runs at a time, one thread each")
    parser.add_argument("--folder", type=Path, required=True, help="where finished runs are kept")
    parser.add_argument("--finished", action="store_true", help="train nothing, and sum up the runs that are there")
    arguments = parser.parse_args()
    folders = {"cats_dogs": arguments.cats_dogs, "cifar10": arguments.cifar10}
    result: dict[str, Any] = {}
    cost = {"cpu_s": 0.0, "wall_s": 0.0}
    counts: dict[str, int] = {}
    for task in arguments.tasks:
        asked = [
            (arguments.folder, task, seed, number, options, folders)
            for seed in range(arguments.seeds)
            for number, options in enumerate(settings(task))
            if not arguments.finished or (arguments.folder / f"{task}-{seed}-{number}.json").exists()
        ]
        lines = runs.run_all(asked, kept, arguments.jobs)
        for clock in cost:
            cost[clock] += sum(line[clock] for line in lines)
        counts[task] = lines[0]["n"]
        result[task] = {"budget": f"{TASKS[task]}cpu-s", "runs": lines}
        for seed in range(arguments.seeds):
            best = max((line for line in lines if line["seed"] == seed), key=lambda line: line["accuracy"])
            print(f"{task}, seed {seed}: best {best['accuracy']:.3f} with {best['settings']}", flush=True)
        write("planner_grid", result, seeds=list(range(arguments.seeds)), n=counts, seconds=cost)


def kept(
    folder: Path, task: str, seed: int, number: int, options: dict[str, Any], folders: dict[str, Path | None]
) -> dict[str, Any]:
    """One run of the grid: taken from the folder, or trained and put there."""
    path = folder / f"{task}-{seed}-{number}.json"
    if path.exists():
        found: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        return found
    asked = {name: value for name, value in options.items() if name != "size"}
    found = runs.run(draw(task, seed, options.get("size", 32), folders), f"{TASKS[task]}cpu-s", {**asked, "seed": seed})
    figures = ("accuracy", "steps", "cpu_s", "wall_s", "n", "execution")
    line = {"seed": seed, "settings": options, "commit": COMMIT_AT_START} | {name: found[name] for name in figures}
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(line), encoding="utf-8")
    print(f"{path.stem}: {line['accuracy']:.3f} in {line['steps']} steps, {options}", flush=True)
    return line


if __name__ == "__main__":
    main()
