"""What scikit-learn's own semi-supervised estimators reach on its digits: the reference our runs are set against."""

from __future__ import annotations

import time
import warnings
from typing import Any

from sklearn.base import ClassifierMixin
from sklearn.calibration import CalibratedClassifierCV
from sklearn.semi_supervised import LabelSpreading, SelfTrainingClassifier
from sklearn.svm import SVC

import common

SEEDS = range(10)
LABELS = (20, 40, 100)


def estimators(num_labels: int) -> dict[str, ClassifierMixin]:
    """The references by name; a fold of the calibration holds at least one label of every class."""
    folds = min(5, num_labels // 10)
    return {
        "SVC, labels alone": SVC(),
        "LabelSpreading": LabelSpreading(kernel="knn", n_neighbors=7),
        "SelfTraining, calibrated": SelfTrainingClassifier(CalibratedClassifierCV(SVC(), cv=folds, ensemble=False)),
        "SelfTraining, Platt": SelfTrainingClassifier(SVC(probability=True, random_state=0)),
    }


def main() -> None:
    """Measure every estimator on every split and write the record."""
    # LabelSpreading divides by zero for images no label reaches; scikit-learn is removing Platt scaling from SVC.
    warnings.filterwarnings("ignore", "invalid value encountered in divide", RuntimeWarning)
    warnings.filterwarnings("ignore", "The `probability` parameter was deprecated", FutureWarning)
    accuracies: dict[str, dict[str, list[float]]] = {}
    started = time.process_time(), time.perf_counter()
    num_runs = 0
    for num_labels in LABELS:
        for seed in SEEDS:
            split = common.digits_split(num_labels, seed)
            train, test = (images.reshape(len(images), -1) / 255.0 for images in (split.train, split.test))
            labeled = split.train_labels >= 0
            for name, estimator in estimators(num_labels).items():
                rows = labeled if isinstance(estimator, SVC) else slice(None)
                estimator.fit(train[rows], split.train_labels[rows])
                by_labels = accuracies.setdefault(name, {})
                by_labels.setdefault(str(num_labels), []).append(estimator.score(test, split.test_labels))
                num_runs += 1
    cost = {
        "cpu_s": round((time.process_time() - started[0]) / num_runs, 3),
        "wall_s": round((time.perf_counter() - started[1]) / num_runs, 3),
    }
    result: dict[str, Any] = {
        name: {labels: common.summary(values) for labels, values in by_labels.items()}
        for name, by_labels in accuracies.items()
    }
    common.write("digits_reference", result, seeds=SEEDS, n=len(split.test_labels), seconds=cost)
    for name, by_labels in result.items():
        figures = "  ".join(f"{k}: {100 * v['mean']:.1f} +- {100 * v['std']:.1f} %" for k, v in by_labels.items())
        print(f"{name:<26}{figures}")


if __name__ == "__main__":
    main()
