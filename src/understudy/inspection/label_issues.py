"""Labels contradicted by a model that was not trained on the image, and whether that model is reliable."""

from __future__ import annotations

import warnings
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from understudy.core.errors import DataError
from understudy.core.seeding import generator
from understudy.core.types import Ids
from understudy.evaluation.label_errors import SuspectLabel, find_label_errors
from understudy.inspection.embedding import unit

MIN_PER_CLASS = 3  # with fewer, a fold's model sees one label of the class or none
_FOLDS = 5  # each model trains on 80 % of the labels; ten folds would double the time for a tenth more
_STRENGTH = 0.1  # C of the regression: strong enough for few labels, when features outnumber them
_MAX_TRAINED = 10_000  # rows: trades a little accuracy for a bounded time
_MAX_ITERATIONS = 200  # of L-BFGS, twice the default; a fit cut short there is close enough
_PLANTED_SHARE = 0.05  # near the 3.3 % that common test sets have (Northcutt et al., arXiv:2103.14749)
_MIN_PRECISION = 1 / 3  # below, a person would check three labels for each error; a judgment


@dataclass(frozen=True, eq=False)
class LabelIssues:
    """Labels to check.

    Args:
        suspects: Largest margin of the suggested over the given class first; rows count those of the features.
        out_of_fold_accuracy: Agreement of the linear model with the given labels on images it was not trained on; NaN
            if no label could be checked.
        num_checked: Number of labels checked: those of classes with at least three.
        planted_precision: Share of the suspects that are real errors after 5 % of the labels were made wrong on
            purpose: the precision to expect in data with so many random errors. Labels that were wrong before lower
            it.
    """

    suspects: tuple[SuspectLabel, ...]
    out_of_fold_accuracy: float
    num_checked: int
    planted_precision: float

    @property
    def is_reliable(self) -> bool:
        """Whether at least a third of the suspects are errors where one label in twenty is wrong.

        An overconfident model suspects the images that it fails to learn, and checking these wastes time.
        """
        return self.planted_precision >= _MIN_PRECISION


def find_label_issues(features: NDArray[np.floating], labels: Ids, num_classes: int, *, seed: int = 0) -> LabelIssues:
    """Label errors by confident learning, with out-of-fold probabilities of a linear model.

    Args:
        features: From `embed`, (n, d).
        labels: Class of each row; none may be missing.

    Raises:
        DataError: A label is not a class number, or the number of labels differs from that of the rows.
    """
    labels = np.asarray(labels, np.int64)
    if len(labels) != len(features):
        raise DataError(f"{len(labels)} labels were given for {len(features)} rows of features; give one per row")
    if len(labels) and not 0 <= labels.min() <= labels.max() < num_classes:
        raise DataError(f"labels go from {labels.min()} to {labels.max()}; they must go from 0 to {num_classes - 1}")
    checked = np.flatnonzero(np.bincount(labels, minlength=num_classes)[labels] >= MIN_PER_CLASS)
    if not len(checked) or len(np.unique(labels)) < 2:
        return LabelIssues((), float("nan"), 0, 0.0)
    rows = unit(features.astype(np.float32))
    rows = rows / (float(rows.std()) or 1.0)
    probabilities = _out_of_fold(rows, labels, num_classes, seed)
    suspects = find_label_errors(labels[checked], probabilities[checked])
    accuracy = float((probabilities[checked].argmax(1) == labels[checked]).mean())
    return LabelIssues(
        tuple(replace(suspect, row=int(checked[suspect.row])) for suspect in suspects),
        accuracy,
        len(checked),
        _planted_precision(rows, labels, checked, num_classes, seed),
    )


def _out_of_fold(rows: NDArray[np.float32], labels: Ids, num_classes: int, seed: int) -> NDArray[np.float64]:
    """Each row's class probabilities by a model trained on the other folds, which are stratified by class."""
    from sklearn.exceptions import ConvergenceWarning
    from sklearn.linear_model import LogisticRegression

    random = generator("doubted", seed)  # the key fixes the folds that published figures were measured with
    order = np.lexsort((random.random(len(labels)), labels))
    fold = np.empty(len(labels), np.int64)
    fold[order] = np.arange(len(labels)) % _FOLDS
    is_trained = np.zeros(len(labels), np.bool_)
    is_trained[random.permutation(len(labels))[:_MAX_TRAINED]] = True
    probabilities = np.zeros((len(labels), num_classes))
    for number in range(_FOLDS):
        mine, others = fold == number, (fold != number) & is_trained
        classes = np.unique(labels[others])
        if not mine.any() or len(classes) < 2:
            probabilities[np.ix_(mine, classes)] = 1.0
            continue
        model = LogisticRegression(C=_STRENGTH, max_iter=_MAX_ITERATIONS)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ConvergenceWarning)
            model.fit(rows[others], labels[others])
        probabilities[np.ix_(mine, model.classes_)] = model.predict_proba(rows[mine])
    return probabilities


def _planted_precision(rows: NDArray[np.float32], labels: Ids, checked: Ids, num_classes: int, seed: int) -> float:
    """The share of the suspects that are planted errors, after a share of the labels was made wrong."""
    random = generator("planted", seed)
    classes = np.unique(labels[checked])
    if len(classes) < 2:
        return 0.0
    wrong = random.permutation(checked)[: max(1, round(_PLANTED_SHARE * len(checked)))]
    changed = labels.copy()
    at = np.searchsorted(classes, labels[wrong])
    changed[wrong] = classes[(at + random.integers(1, len(classes), len(wrong))) % len(classes)]
    probabilities = _out_of_fold(rows, changed, num_classes, seed)
    suspects = [checked[suspect.row] for suspect in find_label_errors(changed[checked], probabilities[checked])]
    return float(np.isin(suspects, wrong).mean()) if suspects else 0.0
