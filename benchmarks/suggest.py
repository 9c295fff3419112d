"""What label advice gains: images suggested for labeling against random ones, by accuracy of models trained on them.

`python benchmarks/suggest.py --cifar10 PATH --cats-dogs PATH` needs folders with train/<class>/* and test/<class>/*.
Labels are read only for the images picked; test images only measure accuracy.
"""

from __future__ import annotations

import argparse
import os
import time
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy as np
from numpy.typing import NDArray

import common
from understudy import Budget, Stage, load
from understudy.core.types import Ids
from understudy.data.collection import Collection, Part
from understudy.data.split import Splits
from understudy.engine.fit import fit
from understudy.engine.predict import predict
from understudy.experiment.job import as_training_data, initial_network, make_job
from understudy.inspection.active_selection import select_typical, select_uncertain
from understudy.inspection.embedding import embed, unit

# Unlabeled images per draw, and test images of the linear model: enough to tell draws apart at an acceptable cost.
NUM_UNLABELED, NUM_TEST = 5_000, 3_000
FIRST = ("random", "suggested", "k_means_centers", "k_center")
NEXT = ("random", "suggested", "margin", "first_again")

Features = NDArray[np.float32]


def main() -> None:
    """Draw pools, pick images to label in each way, train on them, and write the results."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--cifar10", type=Path)
    parser.add_argument("--cats-dogs", type=Path)
    parser.add_argument("--draws", type=int, default=5)
    parser.add_argument("--count", type=int, default=100)
    parser.add_argument("--budget", default="30cpu-s", help="of each supervised run; 0 for none")
    args = parser.parse_args()
    result: dict[str, Any] = {"count": args.count, "unlabeled": NUM_UNLABELED, "budget": args.budget}
    costs, sizes = [], {}
    for name, folder, side in (("cifar10", args.cifar10, 32), ("cats_dogs", args.cats_dogs, 64)):
        if folder is None:
            continue
        collection = load(folder, size=side)
        lines = []
        for seed in range(args.draws):
            lines.append(_draw(collection, seed, args.count, args.budget))
            costs.append(lines[-1].pop("suggest_cpu_s"))
            print(name, seed, lines[-1], flush=True)
        sizes[name] = int((collection.parts == Part.TEST).sum())
        result[name] = {"summary": _summaries(lines), "draws": lines}
    common.write(
        "suggest",
        result,
        seeds=range(args.draws),
        n=sizes,
        seconds={"embedding_and_choice_cpu_s": round(float(np.mean(costs)), 1)},
    )


def _draw(collection: Collection, seed: int, count: int, budget: str) -> dict[str, Any]:
    """Accuracies with the images picked in each way from one random draw of unlabeled images."""
    random = np.random.default_rng(seed)
    is_test = collection.parts == Part.TEST
    unlabeled = random.permutation(np.flatnonzero(~is_test & (collection.labels >= 0)))[:NUM_UNLABELED]
    test = np.flatnonzero(is_test)
    asked = random.permutation(test)[:NUM_TEST]
    begun = time.process_time()
    rows = embed(collection, np.concatenate([unlabeled, asked]), seed=seed)
    features, tests = rows[: len(unlabeled)], rows[len(unlabeled) :]
    nothing = features[:0]
    picks = {"suggested": select_typical(features, nothing, count, seed=seed).rows}
    line: dict[str, Any] = {"suggest_cpu_s": time.process_time() - begun}
    picks |= {
        "random": random.permutation(len(unlabeled))[:count],
        "k_means_centers": _centers(unit(features), count, seed),
        "k_center": _spread(unit(features), count),
    }
    labels, truth = collection.labels[unlabeled], collection.labels[asked]
    for way in FIRST:
        chosen = picks[way]
        found = _balance(labels[chosen], len(collection.classes))
        found["linear"] = _linear(features[chosen], labels[chosen], tests, truth)[0]
        if budget != "0" and way in ("random", "suggested"):
            found["supervised"] = _supervised(collection, np.sort(unlabeled[chosen]), test, budget, seed)
        line[way] = found
    line["next"] = _next(features, labels, tests, truth, picks["random"], count, seed)
    return line


def _next(
    features: Features, labels: Ids, tests: Features, truth: Ids, known: Ids, count: int, seed: int
) -> dict[str, float]:
    """Accuracy of the linear model with as many labels again, picked in each way after random first ones."""
    rest = np.setdiff1d(np.arange(len(features)), known)
    _, probabilities = _linear(features[known], labels[known], features[rest], labels[rest])
    ranked = np.sort(probabilities, axis=1)
    margin = ranked[:, -1] - ranked[:, -2]
    picks = {
        "random": np.random.default_rng(seed + 1000).permutation(len(rest))[:count],
        "suggested": select_uncertain(features[rest], features[known], probabilities, count, seed=seed).rows,
        "margin": np.argsort(margin, kind="stable")[:count],
        "first_again": select_typical(features[rest], features[known], count, seed=seed).rows,
    }
    both = {way: np.concatenate([known, rest[chosen]]) for way, chosen in picks.items()}
    return {way: _linear(features[rows], labels[rows], tests, truth)[0] for way, rows in both.items()}


def _linear(features: Features, labels: Ids, tests: Features, truth: Ids) -> tuple[float, Features]:
    """Accuracy and probabilities of a fixed logistic regression; a class without a label gets none right."""
    from sklearn.linear_model import LogisticRegression

    rows, asked = unit(features), unit(tests)
    scale = float(asked.std())
    model = LogisticRegression(C=0.1, max_iter=300).fit(rows / scale, labels)
    probabilities = model.predict_proba(asked / scale)
    return float((model.classes_[probabilities.argmax(1)] == truth).mean()), probabilities.astype(np.float32)


def _supervised(collection: Collection, labeled: Ids, test: Ids, budget: str, seed: int) -> float:
    nobody = np.zeros(0, np.int64)
    splits = Splits(labeled, nobody, nobody, test, "test", "")
    job = make_job({"method": "supervised", "batch_size": 32, "seed": seed}, collection, None)
    data = as_training_data(collection, splits, job.domain)
    stage = Stage(settings=job.settings(), data=data, network=initial_network(job, data), budget=Budget.parse(budget))
    model = fit(stage).model
    return float((predict(model, data, test).argmax(-1) == collection.labels[test]).mean())


def _balance(labels: Ids, num_classes: int) -> dict[str, Any]:
    """How many classes were missed, and the share of the largest."""
    counts = np.bincount(labels, minlength=num_classes)
    return {"missed": int((counts == 0).sum()), "largest_share": round(float(counts.max() / counts.sum()), 3)}


def _centers(rows: Features, count: int, seed: int) -> Ids:
    """Of each cluster the row nearest to its center."""
    from sklearn.cluster import KMeans

    model = KMeans(count, n_init=1, max_iter=50, random_state=seed).fit(rows)
    found: Ids = model.transform(rows).argmin(0)
    return found


def _spread(rows: Features, count: int) -> Ids:
    """Greedy k-center: each time the row that is farthest from all before it."""
    found, distance = [0], 1 - rows @ rows[0]
    while len(found) < count:
        found.append(int(distance.argmax()))
        distance = np.minimum(distance, 1 - rows @ rows[found[-1]])
    return np.array(found)


def _summaries(lines: list[dict[str, Any]]) -> dict[str, Any]:
    """Means and intervals over draws, and of the differences to random picks of the same draw."""
    found: dict[str, Any] = {}
    for way in FIRST:
        found[way] = {name: common.summary([line[way][name] for line in lines]) for name in lines[0][way]}
    for name in ("linear", "supervised"):
        if name in lines[0]["random"]:
            gains = [line["suggested"][name] - line["random"][name] for line in lines]
            found[f"{name}_gain"] = common.summary(gains)
    found["next"] = {way: common.summary([line["next"][way] for line in lines]) for way in NEXT}
    gains = [line["next"]["suggested"] - line["next"]["random"] for line in lines]
    return found | {"next_gain": common.summary(gains)}


if __name__ == "__main__":
    main()
