"""What planning is worth: with no option given, against fixed defaults and the best of a grid of twenty settings.

Every trained run has the same cost as a run of `planner_grid.py`; the planner spends at most a fifth of its whole
budget before that. Regret is the best accuracy of the grid, picked by the test images, less the planned run's. Digits
with 40 labels need no data; `--cats-dogs PATH` and `--cifar10 PATH` add theirs. Finished runs are kept in `--folder`.
"""

from __future__ import annotations

import argparse
import csv
import json
import shutil
import tempfile
from pathlib import Path
from typing import Any

import numpy as np

import runs
from common import COMMIT_AT_START, hide, summary, write
from planner_grid import TASKS, draw
from understudy import load, train
from understudy.data.collection import Part

SHARE = 0.2


def main() -> None:
    """Plan and train every task that is missing, set it beside the grid, and write the record."""
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
    grid = json.loads((Path(__file__).parent / "planner_grid.json").read_text(encoding="utf-8"))["result"]
    result: dict[str, Any] = {}
    counts: dict[str, int] = {}
    cost = {"cpu_s": 0.0, "wall_s": 0.0}
    for task in arguments.tasks:
        asked = [
            (arguments.folder, task, seed, way, folders)
            for seed in range(arguments.seeds)
            for way in ("planned", "defaults")
            if not arguments.finished or (arguments.folder / f"{way}-{task}-{seed}.json").exists()
        ]
        lines = runs.run_all(asked, kept, arguments.jobs)
        for clock in cost:
            cost[clock] += sum(line[clock] for line in lines)
        counts[task] = lines[0]["n"]
        result[task] = beside_grid(task, lines, grid.get(task, {"runs": []})["runs"])
        print(task, json.dumps({name: value for name, value in result[task].items() if name != "lines"}), flush=True)
        write("planner", result, seeds=list(range(arguments.seeds)), n=counts, seconds=cost)


def beside_grid(task: str, lines: list[dict[str, Any]], grid: list[dict[str, Any]]) -> dict[str, Any]:
    """The figures of one task, and by how many points each way falls short of the grid's best on the same labels."""
    found: dict[str, Any] = {"budget_of_a_run": f"{TASKS[task]}cpu-s", "lines": lines}
    for way in ("planned", "defaults"):
        mine = {line["seed"]: line["accuracy"] for line in lines if line["way"] == way}
        found[way] = summary(list(mine.values()))
        best = {seed: max((run["accuracy"] for run in grid if run["seed"] == seed), default=None) for seed in mine}
        regrets = {seed: round(100 * (best[seed] - mine[seed]), 1) for seed in mine if best[seed] is not None}
        found[f"regret_of_{way}"] = regrets
    accuracies = [run["accuracy"] for run in grid]
    if accuracies:
        found["grid"] = {"best": max(accuracies), "median": float(np.median(accuracies)), "worst": min(accuracies)}
    shares = [line["share"] for line in lines if line["way"] == "planned"]
    found["share_of_budget_spent_planning"] = [round(share, 3) for share in shares]
    return found


def kept(folder: Path, task: str, seed: int, way: str, folders: dict[str, Path | None]) -> dict[str, Any]:
    """One run: taken from the folder, or trained and put there."""
    path = folder / f"{way}-{task}-{seed}.json"
    if path.exists():
        found: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        return found
    line = run(task, seed, way, folders) | {"seed": seed, "way": way, "commit": COMMIT_AT_START}
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(line), encoding="utf-8")
    print(f"{path.stem}: {line['accuracy']:.3f}", line["choices"], flush=True)
    return line


def run(task: str, seed: int, way: str, folders: dict[str, Path | None]) -> dict[str, Any]:
    """A whole command with nothing but images and a budget; its supervised half is the cost of a fair answer."""
    each = TASKS[task]
    whole = 2 * each / (1 - SHARE) if way == "planned" else 2 * each
    with tempfile.TemporaryDirectory() as scratch:
        source, test = images(task, seed, folders, Path(scratch))
        found = train(source, test=test, budget=f"{whole:g}cpu-s", seed=seed, plan=way == "planned")
    method = next(name for name in reversed(found.runs))
    choices = {} if found.plan is None else {choice.key: choice.value for choice in found.plan.choices}
    return {
        "accuracy": found.run_metrics[method].accuracy,
        "n": found.run_metrics[method].n,
        "method": method,
        "supervised": found.run_metrics["supervised"].accuracy,
        "steps": found.runs[method].steps,
        "share": 0.0 if found.plan is None else found.plan.share,
        "cpu_s": sum(trained.cost.cpu_s for trained in found.runs.values()),
        "wall_s": sum(trained.cost.wall_s for trained in found.runs.values()),
        "choices": choices,
        "plan": None if found.plan is None else found.plan.to_json(),
    }


def images(task: str, seed: int, folders: dict[str, Path | None], scratch: Path) -> tuple[Any, Any]:
    """The same labels as in the grid: arrays, or for photographs a manifest, which leave the size to the plan."""
    if task != "cats_dogs_100":
        arrays = draw(task, seed, 32, folders)
        return (arrays.train, arrays.train_labels), (arrays.test, arrays.test_labels)
    folder = folders["cats_dogs"]
    assert folder is not None
    collection = load(folder, size=32)
    test = collection.parts == Part.TEST
    labels = collection.labels.copy()
    labels[~test] = hide(labels[~test], 100, seed)
    manifest = scratch / "photos.csv"
    shutil.copytree(folder, scratch / "photos")  # a manifest is above all of its images
    with manifest.open("w", newline="", encoding="utf-8") as file:
        rows = csv.writer(file)
        rows.writerow(("path", "label", "split"))
        for name, label, is_test in zip(collection.names, labels, test, strict=True):
            rows.writerow(
                (f"photos/{name}", collection.classes[label] if label >= 0 else "", "test" if is_test else "")
            )
    return manifest, None


if __name__ == "__main__":
    main()
