"""Probes: the quality of features, measured by simple classifiers on top of the frozen network."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Features = NDArray[np.floating]
Labels = NDArray[np.integer]
_ROWS_AT_ONCE = 1024  # a block of similarities to 10,000 rows takes 40 MB
_TEMPERATURE = 0.1  # of the votes; near the 0.07 of Wu et al.


def knn_accuracy(features: Features, labels: Labels, *, num_neighbors: int = 20) -> float | None:
    """The leave-one-out accuracy of a k-nearest-neighbor classifier; None if no class has two rows.

    Neighbors are found by cosine similarity and vote with weight exp(similarity / 0.1), as in Wu et al. (2018,
    https://arxiv.org/abs/1805.01978). There are never more neighbors than the smallest class has other rows.
    """
    counts = np.bincount(labels)
    if counts.max(initial=0) < 2:
        return None
    num_neighbors = max(1, min(num_neighbors, int(counts[counts > 1].min()) - 1))
    unit = features / np.maximum(np.linalg.norm(features, axis=1, keepdims=True), 1e-12)
    right = 0
    for start in range(0, len(unit), _ROWS_AT_ONCE):
        similarity = unit[start : start + _ROWS_AT_ONCE] @ unit.T
        here = np.arange(len(similarity))
        similarity[here, start + here] = -np.inf
        nearest = np.argpartition(-similarity, num_neighbors - 1, axis=1)[:, :num_neighbors]
        votes = np.zeros((len(similarity), len(counts)))
        for column in nearest.T:
            votes[here, labels[column]] += np.exp(similarity[here, column] / _TEMPERATURE)
        right += int((votes.argmax(1) == labels[start + here]).sum())
    return right / len(labels)


def linear_accuracy(features: Features, labels: Labels, *, num_folds: int = 3) -> float | None:
    """The cross-validated accuracy of a logistic regression; None if a class has fewer rows than folds."""
    from sklearn.linear_model import LogisticRegression
    from sklearn.model_selection import StratifiedKFold, cross_val_score
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    counts = np.bincount(labels)
    if (counts > 0).sum() < 2 or counts[counts > 0].min() < num_folds:
        return None
    folds = StratifiedKFold(num_folds, shuffle=True, random_state=0)
    classifier = make_pipeline(StandardScaler(), LogisticRegression(C=0.1, max_iter=200))
    return float(cross_val_score(classifier, features, labels, cv=folds).mean())
