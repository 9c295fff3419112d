"""Every method under one small processor budget a run: digits with 20 and 40 labels, CIFAR-10 with 40, 250 and 1,000.

All methods of a task share decoded images, label draws, initial weights and the supervised baseline. Runs are kept in
`--folder`, so that more seeds, methods or labels cost only what is new.
"""

from __future__ import annotations

import argparse
import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

from common import cifar10, summary, write
from understudy import compare
from understudy.comparison.result import ComparisonResult

TASKS: dict[str, dict[str, Any]] = {
    "digits": {"num_labels": [20, 40], "options": {"batch_size": 32}},
    "cifar10": {"num_labels": [40, 250, 1000], "options": {"domain": "natural", "batch_size": 32}},
}


class Printed:
    """One line per finished run."""

    def message(self, text: str) -> None:
        """The sentence."""
        print(text, flush=True)

    def decoding(self, done: int, total: int) -> None:
        """Nothing."""

    def began(self, plan: Any) -> None:
        """Nothing; its sentence was printed."""

    def finished(self, run: Any) -> None:
        """Who, where, and how well."""
        figures = f"{run.figures.accuracy:.3f} after {run.figures.cpu_s:.0f} CPU-s" if run.figures else run.error
        print(f"{run.num_labels:>5} labels, seed {run.seed}, {run.method:>24}: {figures}", flush=True)


def main() -> None:
    """Compare all methods on one task and add the result to the record."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("task", choices=TASKS)
    parser.add_argument("--data", type=Path, help="folder of CIFAR-10, with train/<class>/* and test/<class>/*")
    parser.add_argument("--labels", type=int, nargs="+", help="numbers of labels, where not all of the task's")
    parser.add_argument("--methods", default="all", help="names separated by commas")
    parser.add_argument("--budget", default="10cpu-s", help="of one run")
    parser.add_argument("--seeds", type=int, default=10)
    parser.add_argument("--jobs", type=int, default=2)
    parser.add_argument("--folder", type=Path, required=True, help="where runs are kept")
    arguments = parser.parse_args()
    task = TASKS[arguments.task]
    sources: dict[str, Any] = {"source": "digits"}
    if arguments.task == "cifar10":
        if arguments.data is None:
            parser.error("cifar10 needs --data")
        train, labels, test, test_labels = cifar10(arguments.data)
        sources = {"source": (train, labels), "test": (test, test_labels)}
    found = compare(
        **sources,
        methods=arguments.methods,
        num_labels=arguments.labels or task["num_labels"],
        seeds=arguments.seeds,
        budget=arguments.budget,
        folder=arguments.folder,
        jobs=arguments.jobs,
        watch=Printed(),
        **task["options"],
    )
    path = Path(__file__).with_suffix(".json")
    earlier = json.loads(path.read_text(encoding="utf-8")) if path.exists() else {"result": {}, "n": {}}
    tables = {f"{arguments.task}, {count} labels": table(found, count) for count in found.num_labels}
    tests = next(run.figures.num_test for run in found.runs if run.figures)
    cost = {
        clock: sum(getattr(run.figures, clock) for run in found.runs if run.figures) for clock in ("cpu_s", "wall_s")
    }
    write(
        "methods",
        earlier["result"] | tables,
        seeds=list(found.seeds),
        n=earlier["n"] | {arguments.task: tests},
        seconds={clock: total / len(found.runs) for clock, total in cost.items()},
    )


def table(found: ComparisonResult, count: int) -> dict[str, Any]:
    """Every method's figures with so many labels, best first."""
    methods = {}
    for method in found.methods:
        line = found.summary(method, count)
        runs = [run for run in found.runs if (run.method, run.num_labels) == (method, count) and run.figures]
        if not runs:
            continue
        gain = line.gain
        methods[method] = {
            "n": len(runs),
            **summary([run.figures.accuracy for run in runs if run.figures]),
            "mean_rank": line.mean_rank,
            "gain": None if gain is None else asdict(gain),
            "cpu_s": line.cpu_s,
            "wall_s": line.wall_s,
            "steps": line.steps,
            "mask_ratio": line.mask_ratio,
            "pseudo_label_accuracy": line.pseudo_label_accuracy,
        }
    order = sorted(methods, key=lambda method: -methods[method]["mean"])
    for method in order:
        print(
            f"{count:>5} labels {method:>24}: {100 * methods[method]['mean']:.1f} +- {100 * methods[method]['std']:.1f}"
        )
    return {"budget": found.budget, "methods": {method: methods[method] for method in order}}


if __name__ == "__main__":
    main()
