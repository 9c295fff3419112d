"""Labels that a model which never saw the image contradicts, and whether that model is worth listening to."""

from __future__ import annotations

import warnings
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from understudy.core.errors import DataError
from understudy.core.seeding import generator
from understudy.core.types import Ids
from understudy.evaluation.label_errors import SuspectLabel, find_label_errors
from understudy.inspection.embedding import unit

MIN_PER_CLASS = 3
_FOLDS, _STRENGTH, _MAX_TAUGHT = 5, 0.1, 10_000
_PLANTED_SHARE, _WORTH = 0.05, 1 / 3


@dataclass(frozen=True, eq=False)
class LabelIssues:
    """Labels to look at again.

    Args:
        suspects: Those first whose suggested class is the furthest above the given one; by row of the features.
        out_of_fold_accuracy: Of the linear model on images it was not trained on, against the labels given; NaN when
            none could be judged.
        num_checked: Labels looked at: those of classes that have three.
        planted_precision: When 5 % of the labels are made wrong on purpose, the share of all doubts that are about
            these; what a person may expect of doubts in data with so many random errors. It is lower the more labels
            are wrong already.
    """

    suspects: tuple[SuspectLabel, ...]
    out_of_fold_accuracy: float
    num_checked: int
    planted_precision: float

    @property
    def is_reliable(self) -> bool:
        """Whether one doubt in three is right where one label in twenty is wrong.

        A model that is often sure and wrong doubts what it fails to learn, and looking at that is wasted time.
        """
        return self.planted_precision >= _WORTH


def find_label_issues(features: NDArray[np.floating], labels: Ids, num_classes: int, *, seed: int = 0) -> LabelIssues:
    """The labels that confident learning doubts, by probabilities of a linear model out of fold.

    Args:
        features: As `embed` gives them (n, d).
        labels: Class of each row, all of them known.

    Raises:
        DataError: A label is none of the classes, or there are not as many as rows.
    """
    labels = np.asarray(labels, np.int64)
    if len(labels) != len(features):
        raise DataError(f"{len(labels)} labels were given for {len(features)} rows of features; give one a row")
    if len(labels) and not 0 <= labels.min() <= labels.max() < num_classes:
        raise DataError(f"labels go from {labels.min()} to {labels.max()}; they must go from 0 to {num_classes - 1}")
    judged = np.flatnonzero(np.bincount(labels, minlength=num_classes)[labels] >= MIN_PER_CLASS)
    if not len(judged) or len(np.unique(labels)) < 2:
        return LabelIssues((), float("nan"), 0, 0.0)
    rows = unit(features.astype(np.float32))
    rows = rows / (float(rows.std()) or 1.0)
    probabilities = _out_of_fold(rows, labels, num_classes, seed)
    found = find_label_errors(labels[judged], probabilities[judged])
    accuracy = float((probabilities[judged].argmax(1) == labels[judged]).mean())
    return LabelIssues(
        tuple(SuspectLabel(int(judged[one.row]), *_rest(one)) for one in found),
        accuracy,
        len(judged),
        _planted_precision(rows, labels, judged, num_classes, seed),
    )


def _rest(one: SuspectLabel) -> tuple[int, int, float, float]:
    return one.given, one.suggested, one.confidence, one.given_confidence


def _out_of_fold(rows: NDArray[np.float32], labels: Ids, num_classes: int, seed: int) -> NDArray[np.float64]:
    """Each row's class probabilities by a model of the other folds, over which every class is spread evenly."""
    from sklearn.exceptions import ConvergenceWarning
    from sklearn.linear_model import LogisticRegression

    random = generator("doubted", seed)
    order = np.lexsort((random.random(len(labels)), labels))
    fold = np.empty(len(labels), np.int64)
    fold[order] = np.arange(len(labels)) % _FOLDS
    taught = np.zeros(len(labels), np.bool_)
    taught[random.permutation(len(labels))[:_MAX_TAUGHT]] = True
    found = np.zeros((len(labels), num_classes))
    for number in range(_FOLDS):
        mine, others = fold == number, (fold != number) & taught
        kinds = np.unique(labels[others])
        if not mine.any() or len(kinds) < 2:
            found[np.ix_(mine, kinds)] = 1.0
            continue
        model = LogisticRegression(C=_STRENGTH, max_iter=200)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ConvergenceWarning)
            model.fit(rows[others], labels[others])
        found[np.ix_(mine, model.classes_)] = model.predict_proba(rows[mine])
    return found


def _planted_precision(rows: NDArray[np.float32], labels: Ids, judged: Ids, num_classes: int, seed: int) -> float:
    """The share of all doubts that are about labels made wrong, when some are."""
    random = generator("planted", seed)
    kinds = np.unique(labels[judged])
    if len(kinds) < 2:
        return 0.0
    wrong = random.permutation(judged)[: max(1, round(_PLANTED_SHARE * len(judged)))]
    changed = labels.copy()
    at = np.searchsorted(kinds, labels[wrong])
    changed[wrong] = kinds[(at + random.integers(1, len(kinds), len(wrong))) % len(kinds)]
    probabilities = _out_of_fold(rows, changed, num_classes, seed)
    doubts = [judged[one.row] for one in find_label_errors(changed[judged], probabilities[judged])]
    return float(np.isin(doubts, wrong).mean()) if doubts else 0.0
