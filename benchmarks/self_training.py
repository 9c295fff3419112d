"""Self-training and Noisy Student against supervised at equal cost: on digits, and on the user's folder of images.

Of every run: test accuracy, the trend of its rounds with the accuracy of their pseudo-labels, and accuracy on common
corruptions of the test images. `--data PATH` names a folder with `train/<class>/*` and `test/<class>/*`, such as cats
and dogs; without it the data are scikit-learn's digits.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

import runs
from common import Arrays, digits_split, hide, summary, write

RECIPES: dict[str, dict[str, Any]] = {
    "supervised": {"recipe": "plain", "method": "supervised"},
    "self_training": {"recipe": "self_training"},
    "noisy_student": {"recipe": "noisy_student"},
}
_CORRUPTED = 100


def main() -> None:
    """Train every run and write the record."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, help="folder of images; digits without it")
    parser.add_argument("--size", type=int, default=64, help="side of the images in px, with --data")
    parser.add_argument("--labels", type=int, default=40)
    parser.add_argument("--budget", default="15cpu-s", help="of one run")
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--jobs", type=int, default=2, help="runs at a time, one thread each")
    arguments = parser.parse_args()
    seeds = list(range(arguments.seeds))
    tasks = [
        (arguments.data, arguments.size, arguments.labels, seed, name, arguments.budget)
        for seed in seeds
        for name in RECIPES
    ]
    found = runs.run_all(tasks, train, arguments.jobs)
    lines = {name: [line for task, line in zip(tasks, found, strict=True) if task[4] == name] for name in RECIPES}
    result: dict[str, Any] = {"labels": arguments.labels, "budget": arguments.budget, "recipes": RECIPES}
    for name, of_one in lines.items():
        figures = {key: [line[key] for line in of_one] for key in ("accuracy", "corrupted_accuracy", "cpu_s")}
        gains = {
            f"{key}_gain": summary([a - b for a, b in zip(figures[key], first, strict=True)])
            for key in ("accuracy", "corrupted_accuracy")
            if name != "supervised"
            for first in [[line[key] for line in lines["supervised"]]]
        }
        result[name] = {key: summary(values) for key, values in figures.items()} | gains
        result[name]["rounds"] = [{"stopped": line["stopped"], "rounds": line["rounds"]} for line in of_one]
        print(name, {key: (value["mean"], value["interval"]) for key, value in result[name].items() if key != "rounds"})
    cost = {clock: sum(line[clock] for line in found) / len(found) for clock in ("cpu_s", "wall_s")}
    name = "self_training" if arguments.data is None else f"self_training_{arguments.data.name.replace('-', '_')}"
    write(name, result, seeds=seeds, n=found[0]["n"], seconds=cost)


def train(folder: Path | None, size: int, num_labels: int, seed: int, name: str, budget: str) -> dict[str, Any]:
    """One run on one split."""
    arrays = digits_split(num_labels, seed) if folder is None else images_split(folder, size, num_labels, seed)
    domain = {"domain": "digits", "batch_size": 32} if folder is None else {}
    options = {**RECIPES[name], "seed": seed, **domain}
    return runs.run(arrays, budget, options, corrupted=_CORRUPTED)


def images_split(folder: Path, size: int, num_labels: int, seed: int) -> Arrays:
    """A folder's images with `num_labels` stratified labels, the rest hidden."""
    from understudy import load
    from understudy.data.collection import Part

    collection = load(folder, size=size)
    test = collection.parts == Part.TEST
    rows, labels = collection.rows.numpy(), collection.labels
    return Arrays(rows[~test], hide(labels[~test], num_labels, seed), labels[~test], rows[test], labels[test])


if __name__ == "__main__":
    main()
