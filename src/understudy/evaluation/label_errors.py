"""Confident learning: a label is doubted when a model that never saw the image is as sure of another class as usual.

Northcutt, Jiang and Chuang (2021, https://arxiv.org/abs/1911.00068): what is off the confident joint's diagonal.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from understudy.evaluation.metrics import labeled_probabilities

_ROUNDING = 1e-6


@dataclass(frozen=True)
class SuspectLabel:
    """An image whose given label is doubted.

    Args:
        row: Of the arrays it was found in.
        confidence: The probability of the suggested class.
        given_confidence: The probability of the given one.
    """

    row: int
    given: int
    suggested: int
    confidence: float
    given_confidence: float


def find_label_errors(labels: NDArray[np.integer], probabilities: NDArray[np.floating]) -> tuple[SuspectLabel, ...]:
    """The images whose labels look wrong, those first whose suggested class is the furthest above the given one.

    A class is a candidate for an image when its probability reaches the class's threshold: the mean probability of the
    class over the images labeled so (equation 2). The most probable candidate is suggested if it is more probable than
    the given class. A class that no label names has no threshold and is never suggested.

    Args:
        probabilities: Out of sample: of a model that was not trained on these labels. One that was agrees with them.

    Raises:
        DataError: There are no images, the shapes disagree, a class number is out of range, or rows are no
            probabilities.
    """
    labels, probabilities = labeled_probabilities(labels, probabilities)
    rows = np.arange(len(labels))
    given = probabilities[rows, labels]
    counts = np.bincount(labels, minlength=probabilities.shape[1])
    totals = np.bincount(labels, given, minlength=probabilities.shape[1])
    thresholds = np.where(counts > 0, totals / np.maximum(counts, 1), np.inf)
    candidates = np.where(probabilities >= thresholds - _ROUNDING, probabilities, -1.0)
    suggested = candidates.argmax(axis=1)
    margin = given - candidates[rows, suggested]
    doubted = np.flatnonzero((suggested != labels) & (margin < 0))
    return tuple(
        SuspectLabel(
            int(row),
            int(labels[row]),
            int(suggested[row]),
            float(probabilities[row, suggested[row]]),
            float(given[row]),
        )
        for row in doubted[np.argsort(margin[doubted], kind="stable")]
    )
