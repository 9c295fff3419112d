"""Long-tailed CIFAR-10: what logit adjustment, alignment to an estimated balance and a balanced classifier buy.

The literature's protocol: the first class has 1,500 labeled and 3,000 unlabeled images, the others fall off by a ratio
of 50 or 100; the pool's order is that of the labels, or reversed. The test set is balanced, so that accuracy on it is
balanced accuracy. Runs are kept in `--folder`, so that more seeds cost only what is new.
"""

from __future__ import annotations

import argparse
import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

from common import cifar10, summary, write
from methods import Printed
from understudy import compare
from understudy.functional.alignment import Alignment
from understudy.functional.criteria import CrossEntropy
from understudy.methods.abc import ABC
from understudy.methods.fixmatch import FixMatch
from understudy.methods.supervised import Supervised

MU = 3
FIXMATCH = FixMatch(mu=MU)
METHODS = {
    "supervised": Supervised(),
    "supervised, logit adjustment": Supervised(criterion=CrossEntropy(logit_adjustment=1.0)),
    "fixmatch": FIXMATCH,
    "fixmatch, logit adjustment": FixMatch(mu=MU, criterion=CrossEntropy(logit_adjustment=1.0)),
    "fixmatch, aligned to labeled": FixMatch(mu=MU, alignment=Alignment(target="labeled")),
    "fixmatch, aligned to estimated": FixMatch(mu=MU, alignment=Alignment(target="estimated")),
    "abc on fixmatch": ABC(base=FIXMATCH),
}
POOLS = {"matched": "same", "reversed": "reversed"}
MAX_LABELED, MAX_UNLABELED, CLASSES = 1500, 3000, 10


def main() -> None:
    """Compare the remedies on every long tail and write the record."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("data", type=Path, help="folder of CIFAR-10, with train/<class>/* and test/<class>/*")
    parser.add_argument("--ratios", type=int, nargs="+", default=[50, 100])
    parser.add_argument("--budget", default="60cpu-s", help="of one run")
    parser.add_argument("--seeds", type=int, default=1)
    parser.add_argument("--jobs", type=int, default=2)
    parser.add_argument("--folder", type=Path, required=True, help="where runs are kept")
    arguments = parser.parse_args()
    train, labels, test, test_labels = cifar10(arguments.data)
    path = Path(__file__).with_suffix(".json")
    result: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))["result"] if path.exists() else {}
    cost: list[float] = []
    for ratio in arguments.ratios:
        for pool, order in POOLS.items():
            found = compare(
                (train, labels),
                test=(test, test_labels),
                methods=list(METHODS.values()),
                num_labels=tail(MAX_LABELED, ratio),
                num_unlabeled=tail(MAX_UNLABELED, ratio),
                imbalance=float(ratio),
                unlabeled_imbalance=float(ratio),
                unlabeled_order=order,
                seeds=arguments.seeds,
                budget=arguments.budget,
                folder=arguments.folder / f"{ratio}-{pool}",
                jobs=arguments.jobs,
                watch=Printed(),
                domain="natural",
            )
            table = {}
            for name, label in zip(METHODS, found.methods, strict=True):
                runs = [run.figures for run in found.runs if run.method == label and run.figures]
                line = found.summary(label, found.num_labels[0])
                table[name] = {
                    "accuracy": summary([figures.balanced_accuracy for figures in runs]),
                    "gain": None if line.gain is None else asdict(line.gain),
                    "steps": line.steps,
                    "mask_ratio": line.mask_ratio,
                    "pseudo_label_accuracy": line.pseudo_label_accuracy,
                }
                cost += [figures.cpu_s for figures in runs]
                print(f"ratio {ratio}, {pool}: {name}: {table[name]['accuracy']['mean']:.3f}", flush=True)
            result[f"ratio {ratio}, {pool}"] = {"budget": arguments.budget, "methods": table}
            seconds = {"cpu_s": sum(cost) / len(cost)}
            write("imbalance", result, seeds=list(range(arguments.seeds)), n=len(test), seconds=seconds)


def tail(most: int, ratio: int) -> int:
    """Images of all classes together when the first has `most` and each next one a fixed share of it."""
    return sum(int(most * ratio ** (-k / (CLASSES - 1))) for k in range(CLASSES))


if __name__ == "__main__":
    main()
