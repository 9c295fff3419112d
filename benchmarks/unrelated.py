"""What the pool filter finds and what it is worth: six kinds of animals labeled, a pool of animals and vehicles.

`python benchmarks/unrelated.py --data PATH` needs CIFAR-10 as images: PATH/train/<class>/* and PATH/test/<class>/*.
Test images are used once, after each run.
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
from understudy.data.split import Splits
from understudy.engine.fit import fit
from understudy.engine.predict import predict
from understudy.experiment.job import as_training_data, initial_network, make_job
from understudy.inspection.embedding import embed, unit
from understudy.inspection.unrelated import score_unrelated

ANIMALS = tuple(common.CIFAR10_CLASSES.index(name) for name in ("bird", "cat", "deer", "dog", "frog", "horse"))
POOL = 10_000
_KEPT = 0.95

Features = NDArray[np.float32]


def main() -> None:
    """Measure the filter on every seed, then train on three pools and none, and write both."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, required=True, help="folder with train/<class>/* and test/<class>/*")
    parser.add_argument("--seeds", type=int, default=5, help="draws that the filter is measured on")
    parser.add_argument("--runs", type=int, default=3, help="of these, draws that are trained on")
    parser.add_argument("--labels", type=int, nargs="*", default=[300])
    parser.add_argument("--budget", default="60cpu-s", help="of each run")
    parser.add_argument("--method", default="softmatch")
    args = parser.parse_args()
    train, classes, test, test_classes = common.cifar10(args.data)
    found, trained = [], []
    costs = []
    for seed in range(args.seeds):
        begun = time.process_time()
        labeled, animals, others = _draw(classes, seed)
        rows = np.concatenate([labeled, animals, others])
        collection = load((train[rows], np.full(len(rows), -1)))
        features = unit(embed(collection, np.arange(len(rows)), seed=seed))
        costs.append(time.process_time() - begun)
        for share in (0.0, 0.2, 0.5):
            wanted = POOL // 2
            count = round(wanted * share / (1 - share))
            pool = np.concatenate([features[600 : 600 + wanted], features[600 + wanted : 600 + wanted + count]])
            is_other = np.arange(len(pool)) >= wanted
            for num_labels in (60, 300, 600):
                known, targets = features[:num_labels], classes[labeled[:num_labels]]
                line = {"seed": seed, "labels": num_labels, "unrelated_share": share}
                found.append(line | _measure_all(known, targets, pool, is_other, seed))
                print(found[-1], flush=True)
    keep = np.isin(test_classes, ANIMALS)
    animals_only = (test[keep], test_classes[keep])
    for num_labels in args.labels:
        for seed in range(args.runs):
            line = _train_all(train, classes, animals_only, num_labels, seed, args.method, args.budget)
            trained.append({"seed": seed, "labels": num_labels} | line)
            print(trained[-1], flush=True)
    summary = {
        f"{num_labels} labels": {
            name: common.summary([line[name] for line in trained if line["labels"] == num_labels])
            for name in ("supervised", "unfiltered", "filtered", "oracle", "filtered_minus_unfiltered")
        }
        for num_labels in args.labels
        if args.runs
    }
    common.write(
        "unrelated",
        {"method": args.method, "budget": args.budget, "filter": _means(found), "accuracy": summary, "lines": found,
         "runs": trained},
        seeds=range(args.seeds),
        n={"pool": POOL, "test": int(keep.sum())},
        seconds={"embedding_cpu_s": round(float(np.mean(costs)), 1)},
    )  # fmt: skip


def _draw(classes: Ids, seed: int) -> tuple[Ids, Ids, Ids]:
    """Six hundred labeled animals, the first of which serve smaller budgets, and a pool of animals and of vehicles."""
    order = np.random.default_rng(seed).permutation(len(classes))
    by_class = [order[classes[order] == label] for label in ANIMALS]
    labeled = np.stack([rows[:100] for rows in by_class], axis=1).ravel()
    rest = np.setdiff1d(order, labeled, assume_unique=True)
    rest = np.random.default_rng(seed).permutation(rest)
    is_animal = np.isin(classes[rest], ANIMALS)
    return labeled, rest[is_animal][: POOL // 2], rest[~is_animal][: POOL // 2]


def _measure_all(
    known: Features, targets: Ids, pool: Features, is_other: NDArray[np.bool_], seed: int
) -> dict[str, Any]:
    """Recall, precision and the share of wanted images kept of each way to find the others."""
    ours = score_unrelated(known, pool, seed=seed)
    result = {
        "filter": _measure(ours.score, ours.threshold, is_other) | {"estimated_share": round(ours.share, 3)},
    }
    for name, (of_pool, of_known) in {
        "nearest_5": _nearest(known, pool, 5),
        "mahalanobis": _mahalanobis(known, targets, pool),
        "max_logit": _max_logit(known, targets, pool),
    }.items():
        result[name] = _measure(of_pool, float(np.quantile(of_known, _KEPT)), is_other)
    return result


def _measure(score: NDArray[np.floating], threshold: float, is_other: NDArray[np.bool_]) -> dict[str, float]:
    from sklearn.metrics import roc_auc_score

    removed = score > threshold
    found = {"removed": float(removed.mean()), "wanted_kept": float(1 - removed[~is_other].mean())}
    if is_other.any():
        found["recall"] = float(removed[is_other].mean())
        found["precision"] = float(is_other[removed].mean()) if removed.any() else 0.0
        found["auroc"] = float(roc_auc_score(is_other, score))
    return {name: round(value, 4) for name, value in found.items()}


def _nearest(known: Features, pool: Features, count: int) -> tuple[Features, Features]:
    own = known @ known.T
    np.fill_diagonal(own, -np.inf)
    return tuple(-np.sort(cosines, 1)[:, -count:].mean(1) for cosines in (pool @ known.T, own))  # type: ignore[return-value]


def _mahalanobis(known: Features, targets: Ids, pool: Features) -> tuple[Features, Features]:
    from sklearn.covariance import LedoitWolf

    def score(train: Features, labels: Ids, asked: Features) -> Features:
        means = {label: train[labels == label].mean(0) for label in np.unique(labels)}
        within = LedoitWolf(assume_centered=True).fit(train - np.stack([means[label] for label in labels]))
        return np.min([((asked - mean) @ within.precision_ * (asked - mean)).sum(1) for mean in means.values()], axis=0)

    return _crossed(score, known, targets, pool)


def _max_logit(known: Features, targets: Ids, pool: Features) -> tuple[Features, Features]:
    from sklearn.linear_model import LogisticRegression

    def score(train: Features, labels: Ids, asked: Features) -> Features:
        scale = known.std()
        model = LogisticRegression(C=0.1, max_iter=200).fit(train / scale, labels)
        return -model.decision_function(asked / scale).max(1)

    return _crossed(score, known, targets, pool)


def _crossed(score: Any, known: Features, targets: Ids, pool: Features) -> tuple[Features, Features]:
    """The pool's scores, and those of known rows by models of the others."""
    fold, own = np.arange(len(known)) // len(ANIMALS) % 5, np.zeros(len(known))
    for number in range(5):
        own[fold == number] = score(known[fold != number], targets[fold != number], known[fold == number])
    return score(known, targets, pool), own


def _train_all(
    train: NDArray[np.uint8],
    classes: Ids,
    test: tuple[Any, Any],
    num_labels: int,
    seed: int,
    method: str,
    budget: str,
) -> dict[str, Any]:
    """Test accuracy with the labels alone, and with each pool; and how well the short network finds the others."""
    labeled, animals, others = _draw(classes, seed)
    labeled = labeled[:num_labels]
    rows = np.concatenate([labeled, animals, others])
    targets = np.concatenate([np.searchsorted(ANIMALS, classes[labeled]), np.full(POOL, -1)])
    collection = load((train[rows], targets), test=(test[0], np.searchsorted(ANIMALS, test[1])))
    pool = np.arange(num_labels, len(rows))
    is_other = pool >= num_labels + len(animals)
    features = unit(embed(collection, np.arange(len(rows)), seed=seed))
    found = score_unrelated(features[:num_labels], features[num_labels:], seed=seed)
    kept = found.score <= found.threshold
    line: dict[str, Any] = {"filter": _measure(found.score, found.threshold, is_other)}
    nobody, test_rows = np.zeros(0, np.int64), np.flatnonzero(collection.parts == 3)
    for name, asked, ids in (
        ("supervised", "supervised", pool),
        ("unfiltered", method, pool),
        ("filtered", method, pool[kept]),
        ("oracle", method, pool[~is_other]),
    ):
        splits = Splits(np.arange(num_labels), ids, nobody, test_rows, "test", "")
        job = make_job({"method": asked, "seed": seed}, collection, None)
        data = as_training_data(collection, splits, job.domain)
        stage = Stage(
            settings=job.settings(), data=data, network=initial_network(job, data), budget=Budget.parse(budget)
        )
        result = fit(stage)
        right = predict(result.model, data, test_rows).argmax(-1) == collection.labels[test_rows]
        line[name], line[f"{name}_steps"] = float(right.mean()), result.steps
        if name == "supervised":
            of_pool, of_known = (-np.log(predict(result.model, data, one).max(1)) for one in (pool, test_rows))
            line["network_confidence"] = _measure(of_pool, float(np.quantile(of_known, _KEPT)), is_other)
    line["filtered_minus_unfiltered"] = line["filtered"] - line["unfiltered"]
    return line


def _means(lines: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The mean over seeds of every figure of each way."""
    found = []
    for key in dict.fromkeys((line["labels"], line["unrelated_share"]) for line in lines):
        same = [line for line in lines if (line["labels"], line["unrelated_share"]) == key]
        ways = [name for name in same[0] if isinstance(same[0][name], dict)]
        means = {
            way: {name: round(float(np.mean([line[way][name] for line in same])), 4) for name in same[0][way]}
            for way in ways
        }
        found.append({"labels": key[0], "unrelated_share": key[1]} | means)
    return found


if __name__ == "__main__":
    main()
