"""Metrics of a classifier on images with known classes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from understudy.core.errors import DataError
from understudy.evaluation.chance import guessing_note
from understudy.evaluation.intervals import Interval, accuracy_interval, balanced_accuracy_interval, right_predictions

_EVEN = 2  # largest over smallest class up to which accuracy and balanced accuracy say much the same
_COLUMNS_AT_ONCE = 64  # classes that are ranked together, which bounds the memory with a thousand classes
_SUM_TOLERANCE = 0.01  # of a row's sum: more than rounding in half precision, less than any row of logits


@dataclass(frozen=True)
class ClassMetrics:
    """Precision, recall and F1 of one class.

    Args:
        support: Images of this class. Without any, recall and F1 are None, and precision if it was never predicted.
    """

    name: str
    support: int
    precision: float | None
    recall: float | None
    f1: float | None


@dataclass(frozen=True)
class Metrics:
    """All metrics of one model on one set of images; macro averages are over the classes that occur.

    Args:
        top_k: Top-k accuracy by k; empty without probabilities.
        confusion: Counts by true class (row) and predicted class (column).
        auroc: One-vs-rest area under the ROC curve, averaged over the classes; None without probabilities, and if all
            images are of one class.
    """

    n: int
    accuracy: float
    accuracy_interval: Interval
    balanced_accuracy: float
    balanced_accuracy_interval: Interval
    macro_precision: float
    macro_recall: float
    macro_f1: float
    top_k: dict[int, float]
    per_class: tuple[ClassMetrics, ...]
    confusion: tuple[tuple[int, ...], ...]
    auroc: float | None = None

    def to_json(self) -> dict[str, Any]:
        """The metrics as plain values for `json.dumps`."""
        return asdict(self)

    def guessing_note(self, steps: int | None = None) -> str | None:
        """A note if the model is not proven better than a constant prediction; else None."""
        names, supports = [row.name for row in self.per_class], [row.support for row in self.per_class]
        return guessing_note(names, supports, self.accuracy, self.accuracy_interval.low, steps)

    @classmethod
    def from_json(cls, record: dict[str, Any]) -> Metrics:
        """The metrics that `to_json` gave, before or after JSON text."""
        from pydantic import TypeAdapter

        return TypeAdapter(cls).validate_python(record)


def measure(
    labels: NDArray[np.integer],
    predicted: NDArray[np.integer | np.floating],
    *,
    classes: int | Sequence[str],
    top_k: Sequence[int] = (3, 5),
    seed: int = 0,
) -> Metrics:
    """The metrics of predictions against labels.

    Args:
        labels: True class number of every image.
        predicted: Predicted class number of every image, or a row of probabilities for each.
        classes: Class names in order, or the number of classes; a class may be missing from the labels.
        top_k: Values of k to report; only with probabilities and more than k classes.
        seed: Seed of the bootstrap.

    Raises:
        DataError: There are no images, shapes disagree, a class number is out of range, or a probability is NaN.
    """
    names = tuple(str(number) for number in range(classes)) if isinstance(classes, int) else tuple(classes)
    labels, predicted = np.asarray(labels), np.asarray(predicted)
    probabilities = _probabilities(predicted, len(names)) if predicted.ndim == 2 else None
    predictions: NDArray[Any] = predicted if probabilities is None else probabilities.argmax(axis=1)
    interval = accuracy_interval(labels, predictions)
    for what, numbers in (("label", labels), ("prediction", predictions)):
        _check_range(what, numbers, len(names))
    per_class, confusion = _per_class(labels, predictions, names)
    present = [row for row in per_class if row.support]
    recall = _mean([row.recall for row in present])
    return Metrics(
        n=len(labels),
        accuracy=float(np.mean(labels == predictions)),
        accuracy_interval=interval,
        balanced_accuracy=recall,
        balanced_accuracy_interval=balanced_accuracy_interval(labels, predictions, seed=seed),
        macro_precision=_mean([row.precision for row in present]),
        macro_recall=recall,
        macro_f1=_mean([row.f1 for row in present]),
        top_k={} if probabilities is None else _top_k(labels, probabilities, top_k),
        per_class=per_class,
        confusion=confusion,
        auroc=None if probabilities is None else auroc(labels, probabilities),
    )


def auroc(labels: NDArray[np.integer], probabilities: NDArray[np.floating]) -> float | None:
    """The one-vs-rest area under the ROC curve, averaged over the classes that occur; None with only one class.

    Computed from the ranks of the probabilities (Mann and Whitney's U), ties counting half: the same as scikit-learn's
    `roc_auc_score(..., average="macro", multi_class="ovr")` in a third of the time.
    """
    from scipy.stats import rankdata

    counts = np.bincount(labels, minlength=probabilities.shape[1])
    present = np.flatnonzero((counts > 0) & (counts < len(labels)))
    areas: list[float] = []
    for start in range(0, len(present), _COLUMNS_AT_ONCE):
        some = present[start : start + _COLUMNS_AT_ONCE]
        ranks = rankdata(probabilities[:, some], axis=0)
        inside = counts[some]
        above = np.where(labels[:, None] == some, ranks, 0).sum(0) - inside * (inside + 1) / 2
        areas.extend((above / (inside * (len(labels) - inside))).tolist())
    return float(np.mean(areas)) if areas else None


def labeled_probabilities(
    labels: NDArray[np.integer], probabilities: NDArray[np.floating]
) -> tuple[NDArray[np.integer], NDArray[np.floating]]:
    """Both as validated arrays, the probabilities in double precision.

    Raises:
        DataError: There are no images, labels and rows differ in number, a class number is out of range, or a row is
            not a distribution over the classes.
    """
    labels, probabilities = np.asarray(labels), np.asarray(probabilities, dtype=np.float64)
    if labels.ndim != 1 or probabilities.ndim != 2 or len(labels) != len(probabilities):
        raise DataError(
            f"labels of shape {labels.shape} and probabilities of shape {probabilities.shape} do not belong together; "
            "give one class number and one row of probabilities per image"
        )
    if len(labels) == 0:
        raise DataError("there is no labeled image to evaluate on; give at least one")
    _probabilities(probabilities, probabilities.shape[1])
    _check_range("label", labels, probabilities.shape[1])
    sums = probabilities.sum(1)
    bad = np.flatnonzero((probabilities < 0).any(1) | (np.abs(sums - 1) > _SUM_TOLERANCE))
    if len(bad):
        raise DataError(
            f"{len(bad)} of {len(labels)} rows are not probabilities, the first, row {bad[0]}, with the sum "
            f"{sums[bad[0]]:.3g}; give the softmax of the logits"
        )
    return labels, probabilities


def balanced_accuracy(labels: NDArray[np.integer], predictions: NDArray[np.integer]) -> float:
    """The mean recall over the classes that occur."""
    group = np.unique(labels, return_inverse=True)[1]
    return float((np.bincount(group, right_predictions(labels, predictions)) / np.bincount(group)).mean())


def are_imbalanced(labels: NDArray[np.integer]) -> bool:
    """Whether the largest class that occurs has more than twice as many images as the smallest one."""
    counts = np.unique(labels, return_counts=True)[1]
    return bool(len(counts)) and bool(counts.max() > _EVEN * counts.min())


def _per_class(
    labels: NDArray[np.integer], predictions: NDArray[Any], names: tuple[str, ...]
) -> tuple[tuple[ClassMetrics, ...], tuple[tuple[int, ...], ...]]:
    """The metrics of each class, and the confusion matrix."""
    from sklearn.metrics import precision_recall_fscore_support

    confusion = np.bincount(labels * len(names) + predictions, minlength=len(names) ** 2).reshape(len(names), -1)
    figures = precision_recall_fscore_support(labels, predictions, labels=np.arange(len(names)), zero_division=0)
    rows = []
    for number, name in enumerate(names):
        precision, recall, f1, support = (figure[number].item() for figure in figures)
        if not support:
            predicted = int(confusion[:, number].sum())
            rows.append(ClassMetrics(name, 0, 0.0 if predicted else None, None, None))
        else:
            rows.append(ClassMetrics(name, int(support), precision, recall, f1))
    return tuple(rows), tuple(tuple(row) for row in confusion.tolist())


def _top_k(labels: NDArray[np.integer], probabilities: NDArray[np.floating], wanted: Sequence[int]) -> dict[int, float]:
    """Top-k accuracy by k; equal probabilities are ranked in class order."""
    order = np.argsort(-probabilities, axis=1, kind="stable")
    rank = np.argmax(order == labels[:, None], axis=1)
    return {k: float(np.mean(rank < k)) for k in wanted if k < probabilities.shape[1]}


def _probabilities(predicted: NDArray[Any], num_classes: int) -> NDArray[np.floating]:
    if predicted.shape[1] != num_classes:
        raise DataError(
            f"{predicted.shape[1]} probabilities per image do not fit {num_classes} classes; give one for each class"
        )
    bad = np.flatnonzero(~np.isfinite(predicted).all(axis=1))
    if len(bad):
        raise DataError(
            f"the probabilities of {len(bad)} of {len(predicted)} images are not finite, the first in row {bad[0]}; "
            "the model has diverged or its weights are damaged"
        )
    return predicted


def _check_range(what: str, numbers: NDArray[Any], num_classes: int) -> None:
    outside = numbers[(numbers < 0) | (numbers >= num_classes)]
    if len(outside):
        raise DataError(
            f"{what} {outside[0]} is not a class number from 0 to {num_classes - 1}; "
            "leave unlabeled images out of the evaluation"
        )


def _mean(values: Sequence[float | None]) -> float:
    return float(np.mean([0.0 if value is None else value for value in values]))
