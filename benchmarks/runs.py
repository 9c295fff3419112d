"""One run, trained and tested, that several benchmarks share: arrays and a budget in, test accuracy and cost out."""

from __future__ import annotations

import os

os.environ.setdefault("OMP_NUM_THREADS", "1")

from collections.abc import Mapping
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from typing import Any

import numpy as np

from common import Arrays
from understudy import Budget, Stage, load
from understudy.data.collection import Part
from understudy.data.split import Splits
from understudy.engine.observers import PseudoLabelQuality
from understudy.engine.predict import predict
from understudy.engine.robustness import robustness
from understudy.experiment.job import as_training_data, initial_network, make_job


def run(arrays: Arrays, budget: str, options: Mapping[str, Any], *, corrupted: int = 0) -> dict[str, Any]:
    """Test accuracy, plain and with test-time averaging, and cost of one run; test images are looked at once, after it.

    Args:
        budget: Of this one run, such as "1200cpu-s".
        options: As `understudy.train` takes them.
        corrupted: Test images on whose corruptions the classifier is asked too, the first ones.
    """
    collection = load((arrays.train, arrays.train_labels), test=(arrays.test, arrays.test_labels))
    training, test = np.flatnonzero(collection.parts != Part.TEST), np.flatnonzero(collection.parts == Part.TEST)
    labeled = collection.labels[training] >= 0
    nobody = np.zeros(0, dtype=np.int64)
    splits = Splits(training[labeled], training[~labeled], nobody, test, "test", "")
    job = make_job(options, collection, None)
    data = as_training_data(collection, splits, job.domain, job.augmentation)
    hidden = np.concatenate([arrays.train_hidden[labeled], arrays.train_hidden[~labeled]])
    quality = PseudoLabelQuality(hidden)
    stage = Stage(settings=job.settings(), data=data, network=initial_network(job, data), budget=Budget.parse(budget))
    trained = job.recipe.train(stage, observe=[quality])
    truth = collection.labels[test]
    plain = predict(trained.model, data, test).argmax(-1)
    averaged = predict(trained.model, data, test, test_time_averaging=True).argmax(-1)
    asked = {}
    if corrupted:
        found = robustness(trained.model, data, test[:corrupted], truth[:corrupted])
        asked = {"corrupted_accuracy": found.mean, "corruptions": found.accuracy}
    right = {line["round"]: line["pseudo_label_accuracy"] for line in quality.rounds if "round" in line}
    return {
        **asked,
        "n": len(test),
        "stopped": trained.stopped,
        "rounds": [line | {"pseudo_label_accuracy": right.get(line.get("round"))} for line in trained.rounds],
        "accuracy": float((plain == truth).mean()),
        "accuracy_test_time_averaging": float((averaged == truth).mean()),
        "right": (plain == truth).tolist(),
        "steps": trained.steps,
        "cpu_s": round(trained.cost.cpu_s, 1),
        "wall_s": round(trained.cost.wall_s, 1),
        "execution": str(trained.execution),
        "pseudo_labels": quality.rounds[-1] if quality.rounds else None,
    }


def run_all(tasks: list[tuple[Any, ...]], task: Any, jobs: int) -> list[Any]:
    """The task's result for each tuple of arguments, several at a time in processes of their own."""
    if jobs == 1:
        return [task(*arguments) for arguments in tasks]
    with ProcessPoolExecutor(jobs, mp_context=get_context("spawn")) as pool:
        return [future.result() for future in [pool.submit(task, *arguments) for arguments in tasks]]
