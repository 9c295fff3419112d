"""Recipes and methods against supervised at equal cost, over several label draws: digits, or a folder of images.

Of every run: test accuracy, cost, what stopped it, the trend of its rounds with the accuracy of their pseudo-labels,
and, on request, accuracy on common corruptions of the test images. `--data PATH` names a folder with
`train/<class>/*`, `test/<class>/*` and perhaps `unlabeled/*`; without it the data are scikit-learn's digits. Finished
runs are kept in `--folder`, so that more draws or ways cost only what is new.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

import runs
from common import COMMIT_AT_START, Arrays, cifar10_split, digits_split, hide, summary, write

WAYS: dict[str, dict[str, Any]] = {
    "supervised": {"method": "supervised"},
    "sgan": {"method": "sgan"},
    "fixmatch": {"method": "fixmatch"},
    "freematch": {"method": "freematch"},
    "softmatch": {"method": "softmatch"},
    "mixmatch": {"method": "mixmatch"},
    "uda": {"method": "uda"},
    "self_training": {"recipe": "self_training", "method": "supervised"},
    "noisy_student": {"recipe": "noisy_student", "method": "supervised"},
    "ensemble_freematch": {"recipe": "ensemble", "method": "freematch"},
    "simclr_then_supervised": {"recipe": "pretrain", "method": "supervised"},
    "simclr_then_freematch": {"recipe": "pretrain", "method": "freematch"},
    "barlow_twins_then_freematch": {
        "recipe": {"name": "pretrain", "pretext": {"name": "barlow_twins"}},
        "method": "freematch",
    },
    "rotation_then_freematch": {"recipe": {"name": "pretrain", "pretext": {"name": "rotation"}}, "method": "freematch"},
}


def main() -> None:
    """Train every run that is missing, and write the record after each."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("name", help="of the record")
    parser.add_argument("--ways", nargs="+", choices=WAYS, default=["supervised", "self_training", "noisy_student"])
    parser.add_argument("--data", type=Path, help="folder of images; digits without it")
    parser.add_argument("--size", type=int, default=64, help="side of the images in px, with --data")
    parser.add_argument("--labels", type=int, default=40)
    parser.add_argument("--unlabeled", type=int, help="unlabeled images that are kept; all without it")
    parser.add_argument("--network", default="auto")
    parser.add_argument("--budget", default="15cpu-s", help="of one run")
    parser.add_argument("--corrupted", type=int, default=0, help="test images whose corruptions are asked too")
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--jobs", type=int, default=2, help="runs at a time, one thread each")
    parser.add_argument("--folder", type=Path, required=True, help="where finished runs are kept")
    options = parser.parse_args()
    arguments = vars(options)
    tasks = [(arguments, seed, way) for seed in range(options.seeds) for way in options.ways]
    lines = runs.run_all(tasks, kept, options.jobs)
    found = {
        way: [line for (_, _, other), line in zip(tasks, lines, strict=True) if other == way]
        for way in arguments["ways"]
    }
    cost = {clock: sum(line[clock] for line in lines) / len(lines) for clock in ("cpu_s", "wall_s")}
    asked = {name: arguments[name] for name in ("labels", "unlabeled", "size", "network", "budget")}
    result = asked | {"ways": {way: summed_up(found[way], found["supervised"], WAYS[way]) for way in found}}
    write(f"recipes_{options.name}", result, seeds=list(range(options.seeds)), n=lines[0]["n"], seconds=cost)
    for way, line in result["ways"].items():
        print(f"{way:>28}: {line['accuracy']['mean']:.3f} +- {line['accuracy']['std']:.3f}", line.get("gain", ""))


def kept(arguments: dict[str, Any], seed: int, way: str) -> dict[str, Any]:
    """One run on one draw of labels: taken from the folder, or trained and put there."""
    path = arguments["folder"] / f"{arguments['name']}-{way}-{seed}.json"
    if path.exists():
        found: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        return found
    arrays = split(arguments, seed)
    domain = {"domain": "digits", "batch_size": 32} if arguments["data"] is None else {}
    network = {} if arguments["network"] == "auto" else {"network": arguments["network"]}
    line = runs.run(
        arrays, arguments["budget"], {**WAYS[way], "seed": seed, **domain, **network}, corrupted=arguments["corrupted"]
    )
    line["commit"] = COMMIT_AT_START  # a record may hold runs of several
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(line), encoding="utf-8")
    print(f"seed {seed} {way:>28}: {line['accuracy']:.3f} in {line['steps']} steps, {line['cpu_s']} CPU-s", flush=True)
    return line


def split(arguments: dict[str, Any], seed: int) -> Arrays:
    """Stratified labels, the rest hidden; test images as the data set has them."""
    folder, size, num_labels = arguments["data"], arguments["size"], arguments["labels"]
    if folder is None:
        return digits_split(num_labels, seed)
    if size == 32:
        return cifar10_split(folder, num_labels, seed, num_unlabeled=arguments["unlabeled"])
    from understudy import load
    from understudy.data.collection import Part

    collection = load(folder, size=size)
    test = collection.parts == Part.TEST
    rows, labels = collection.rows.numpy(), collection.labels
    return Arrays(rows[~test], hide(labels[~test], num_labels, seed), labels[~test], rows[test], labels[test])


def summed_up(lines: list[dict[str, Any]], baseline: list[dict[str, Any]], settings: dict[str, Any]) -> dict[str, Any]:
    """The figures of one way over its draws, and against supervised on the same draws."""
    from understudy.evaluation.seeds import gain_over_seeds

    found: dict[str, Any] = {"settings": settings}
    for figure in ("accuracy", "accuracy_test_time_averaging", "corrupted_accuracy", "steps", "cpu_s"):
        if figure in lines[0]:
            found[figure] = summary([line[figure] for line in lines])
    if lines is not baseline and len(lines) > 1:
        for figure, gain in (("accuracy", "gain"), ("corrupted_accuracy", "corrupted_gain")):
            if figure in lines[0]:
                over = gain_over_seeds([line[figure] for line in baseline], [line[figure] for line in lines])
                interval = over.interval
                found[gain] = {
                    "points": round(100 * over.difference, 2),
                    "interval": interval and [round(100 * end, 2) for end in (interval.low, interval.high)],
                    "p_value": over.p_value,
                }
    found["runs"] = [
        {name: line[name] for name in ("stopped", "rounds", "pseudo_labels", "execution", "commit") if line.get(name)}
        for line in lines
    ]
    return found


if __name__ == "__main__":
    main()
