"""Confident learning: a label is suspect if an out-of-sample model is as confident of another class as usual.

Northcutt, Jiang and Chuang (2021, https://arxiv.org/abs/1911.00068): the off-diagonal of the confident joint.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from understudy.evaluation.metrics import labeled_probabilities

_ROUNDING = 1e-6  # tolerance of float32 probabilities, so that one at its threshold reaches it


@dataclass(frozen=True)
class SuspectLabel:
    """An image whose given label is probably wrong.

    Args:
        row: Row number in the arrays.
        confidence: Probability of the suggested class.
        given_confidence: Probability of the given class.
    """

    row: int
    given: int
    suggested: int
    confidence: float
    given_confidence: float


def find_label_errors(labels: NDArray[np.integer], probabilities: NDArray[np.floating]) -> tuple[SuspectLabel, ...]:
    """The images whose labels look wrong, largest margin of the suggested over the given class first.

    A class is a candidate for an image if its probability reaches the class's threshold, the mean probability of the
    class over the images labeled with it (equation 2). The most probable candidate is suggested if it is more probable
    than the given class. A class without labels has no threshold and is never suggested.

    Args:
        probabilities: Out-of-sample probabilities; a model trained on these labels would agree with them.

    Raises:
        DataError: There are no images, shapes disagree, a class number is out of range, or rows are not probabilities.
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
    suspect = np.flatnonzero((suggested != labels) & (margin < 0))
    return tuple(
        SuspectLabel(
            int(row),
            int(labels[row]),
            int(suggested[row]),
            float(probabilities[row, suggested[row]]),
            float(given[row]),
        )
        for row in suspect[np.argsort(margin[suspect], kind="stable")]
    )
