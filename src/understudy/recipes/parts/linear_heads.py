"""Linear heads on features, found without gradient steps through the network: logistic regression and prototypes."""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from understudy.core.seeding import generator
from understudy.core.types import Ids

Rows = NDArray[np.float32]
Weights = NDArray[np.float64]

STRENGTHS = (0.001, 0.01, 0.1, 1.0, 10.0, 100.0)
"""Values of C that cross-validation selects from, for inputs of unit variance; coarse: each costs a fit per fold."""
# Of cosines: from a nearly flat softmax to one that a difference of 0.1 decides.
SCALES = (1.0, 2.0, 5.0, 10.0, 20.0, 50.0)
# The middle of both grids, for where nothing can be held out: scikit-learn's default C, and a softmax that is sure of a
# class when its cosine is half above the others'.
_DEFAULT_STRENGTH, _DEFAULT_SCALE = 1.0, 10.0
# Five folds leave four fifths to train on. Of more rows than that a random part decides, since every strength is fitted
# once per fold.
_MAX_FOLDS, _MAX_SEARCH_ROWS = 5, 4000
# The logit of a class without labels: far below all others, and finite in half precision.
_NEVER = -1e3


@dataclass(frozen=True, eq=False)
class LinearHead:
    """Logits as a linear function of features.

    Args:
        weight: (classes, features).
        note: How it was found, as a phrase.
    """

    weight: Rows
    bias: Rows
    note: str = ""

    def logits(self, rows: Rows) -> Rows:
        """One logit per row and class."""
        return rows @ self.weight.T + self.bias

    def put_into(self, head: nn.Linear) -> None:
        """Copy the head into a network's last layer; a layer without bias needs a head fitted without."""
        with torch.no_grad():
            head.weight.copy_(torch.from_numpy(self.weight))
            if head.bias is not None:
                head.bias.copy_(torch.from_numpy(self.bias))


def logistic_head(
    rows: Rows, labels: Ids, num_classes: int, *, weight: Weights | None = None, seed: int = 0, strength: float = 0.0,
    has_bias: bool = True,
) -> LinearHead:  # fmt: skip
    """Logistic regression on centered features of unit mean variance; without a bias they are not centered.

    Args:
        weight: How much each row counts.
        strength: scikit-learn's C; 0 lets cross-validation choose, where every class has two rows.
    """
    from sklearn.linear_model import LogisticRegression

    weight = np.ones(len(rows)) if weight is None else weight / weight.mean()
    center = rows.mean(0) if has_bias else np.zeros(rows.shape[1], np.float32)
    scale = float(np.sqrt(np.mean((rows - center) ** 2))) or 1.0
    inputs = ((rows - center) / scale).astype(np.float32)
    note = f"logistic regression, C {strength:g}"
    if not strength:
        strength = _best_strength(inputs, labels, weight, seed, has_bias)
        note = f"logistic regression, C {strength:g} by cross-validation"
        if not strength:
            strength = _DEFAULT_STRENGTH
            note = f"logistic regression, C {strength:g}, since a class has a single label"
    found = _fitted(LogisticRegression(C=strength, max_iter=500, fit_intercept=has_bias), inputs, labels, weight)
    coefficients, intercepts = found.coef_, found.intercept_
    if len(found.classes_) == 2:  # scikit-learn gives two classes a single difference of logits
        coefficients = np.concatenate([-coefficients, coefficients]) / 2
        intercepts = np.concatenate([-intercepts, intercepts]) / 2
    full = np.zeros((num_classes, rows.shape[1]))
    bias = np.full(num_classes, _NEVER)
    full[found.classes_] = coefficients / scale
    bias[found.classes_] = intercepts - full[found.classes_] @ center
    return LinearHead(full.astype(np.float32), bias.astype(np.float32), note)


def prototype_head(
    rows: Rows, labels: Ids, num_classes: int, *, weight: Weights | None = None, pool: Rows | None = None,
    num_refinements: int = 0, threshold: float = 0.8, has_bias: bool = True,
) -> LinearHead:  # fmt: skip
    """The class whose mean direction is nearest to the row's by cosine, seen from the mean row if there is a bias.

    A row's own length scales all its logits alike, so that a linear layer decides by cosine. What the logits are
    multiplied by is chosen by the likelihood of each labeled row under prototypes without it.

    Args:
        pool: Rows without labels; in each refinement those that the prototypes are confident of join the means, with
            their confidence as weight (soft k-means as in Ren et al., 2018, https://arxiv.org/abs/1803.00676).
        threshold: Least confidence of a row that joins.
    """
    weight = np.ones(len(rows)) if weight is None else weight
    known = np.bincount(labels, minlength=num_classes) > 0
    center = (rows if pool is None or not len(pool) else pool).mean(0) * has_bias
    centered = rows - center
    length = float(np.linalg.norm(centered, axis=1).mean()) or 1.0
    unit = _unit(centered)
    sums = np.zeros((num_classes, rows.shape[1]))
    np.add.at(sums, labels, weight[:, None] * unit)
    scale = _best_scale(unit, centered / length, labels, weight, sums, known)

    def head_of(totals: Weights) -> LinearHead:
        directions = scale * _unit(totals) / length
        bias = np.where(known, -directions @ center, _NEVER)
        return LinearHead(directions.astype(np.float32), bias.astype(np.float32))

    head, joined = head_of(sums), 0
    num_refinements = num_refinements if pool is not None and len(pool) else 0
    for _ in range(num_refinements):
        assert pool is not None
        probabilities = _softmax(head.logits(pool))
        confidence = probabilities.max(1)
        sure = confidence >= threshold
        totals, joined = sums.copy(), int(sure.sum())
        np.add.at(totals, probabilities[sure].argmax(1), confidence[sure, None] * _unit(pool[sure] - center))
        head = head_of(totals)
    note = f"nearest class mean by cosine, times {scale:g}"
    if joined:
        note += f"; {joined:,} confident unlabeled rows joined the means"
    elif num_refinements:
        note += f"; no unlabeled row joined the means, since none reached a confidence of {threshold:g}"
    return LinearHead(head.weight, head.bias, note)


def _best_strength(inputs: Rows, labels: Ids, weight: Weights, seed: int, has_bias: bool) -> float:
    """The C of least cross-validated log-loss; 0 where a class has too few rows to leave one out."""
    from sklearn.linear_model import LogisticRegression
    from sklearn.model_selection import StratifiedKFold

    chosen = np.sort(generator("strength", seed).permutation(len(inputs))[:_MAX_SEARCH_ROWS])
    kinds, codes, counts = np.unique(labels[chosen], return_inverse=True, return_counts=True)
    if counts.min() < 2 or len(kinds) < 2:
        return 0.0
    x, w = inputs[chosen], weight[chosen]
    folds = StratifiedKFold(min(_MAX_FOLDS, int(counts.min())), shuffle=True, random_state=seed % 2**32)
    losses = np.zeros(len(STRENGTHS))
    for train, test in folds.split(x, codes):
        for at, strength in enumerate(STRENGTHS):
            # C weighs a sum over rows, of which the final fit has more than this one.
            strength_here = strength * len(inputs) / len(train)
            model = LogisticRegression(C=strength_here, max_iter=200, fit_intercept=has_bias)
            found = _fitted(model, x[train], codes[train], w[train])
            chances = found.predict_proba(x[test])[np.arange(len(test)), codes[test]]
            losses[at] -= float(w[test] @ np.log(np.maximum(chances, 1e-12)))
    return STRENGTHS[int(losses.argmin())]


def _fitted(model: Any, x: Rows, y: Ids, weight: Weights) -> Any:
    """Fit the model, without a warning when it stops before the last digit."""
    from sklearn.exceptions import ConvergenceWarning

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        return model.fit(x, y, sample_weight=weight)


def _best_scale(
    unit: Rows, inputs: Rows, labels: Ids, weight: Weights, sums: Weights, known: NDArray[np.bool_]
) -> float:
    """The factor of the cosines with the best likelihood of rows that are left out of their own class's mean."""
    counts = np.bincount(labels, minlength=len(sums))
    asked = np.flatnonzero(counts[labels] > 1)
    if not len(asked) or known.sum() < 2:
        return _DEFAULT_SCALE
    cosines = inputs @ _unit(sums).T
    without = _unit(sums[labels] - weight[:, None] * unit)
    cosines[np.arange(len(labels)), labels] = (inputs * without).sum(1)
    cosines[:, ~known] = -np.inf
    right = (asked, labels[asked])
    losses = [-float(weight[asked] @ np.log(np.maximum(_softmax(s * cosines)[right], 1e-12))) for s in SCALES]
    return SCALES[int(np.argmin(losses))]


def _unit(rows: NDArray[np.floating]) -> NDArray[np.floating]:
    return rows / np.maximum(np.linalg.norm(rows, axis=-1, keepdims=True), 1e-12)  # type: ignore[no-any-return]


def _softmax(logits: NDArray[np.floating]) -> NDArray[np.floating]:
    powers = np.exp(logits - logits.max(-1, keepdims=True))
    return powers / powers.sum(-1, keepdims=True)  # type: ignore[no-any-return]
