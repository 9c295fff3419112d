"""The papers' equations, row by row in NumPy and float64, as slow and as plain as they are printed."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

Rows = NDArray[Any]


def softmax(logits: Rows) -> Rows:
    """Class probabilities of each row."""
    powers = np.exp(logits.astype(np.float64) - logits.max(-1, keepdims=True))
    return powers / powers.sum(-1, keepdims=True)


def cross_entropy(target: Rows, logits: Rows) -> float:
    """H(target, softmax(logits)) of one row, for a distribution as target."""
    return float(-sum(t * np.log(p) for t, p in zip(target, softmax(logits), strict=True)))


def one_hot(label: int, num_classes: int) -> Rows:
    """All mass on one class."""
    return np.array([1.0 if k == label else 0.0 for k in range(num_classes)])


def supervised(logits: Rows, labels: Rows, weight: Rows, label_smoothing: float = 0.0) -> float:
    """Mean of the rows' weighted cross-entropies to smoothed labels."""
    num_classes, total = logits.shape[1], 0.0
    for row, label, w in zip(logits, labels, weight, strict=True):
        target = (1 - label_smoothing) * one_hot(label, num_classes) + label_smoothing / num_classes
        total += w * cross_entropy(target, row)
    return total / len(logits)


def fixmatch(weak: Rows, strong: Rows, threshold: float) -> float:
    """Sohn et al. (2020), equation 4."""
    total = 0.0
    for q, row in zip(softmax(weak), strong, strict=True):
        if q.max() >= threshold:
            total += cross_entropy(one_hot(int(q.argmax()), len(q)), row)
    return total / len(weak)


def pseudo_label(teacher: Rows, student: Rows, threshold: float, progress: float, end: float, full: float) -> float:
    """Lee (2013), the second sum of equation 15 with the weight of equation 16 and T1 = 0, T2 = end."""
    alpha = full * progress / end if progress < end else full
    return alpha * fixmatch(teacher, student, threshold)


class SoftMatch:
    """Chen et al. (2023), equations 5 to 9 with uniform alignment; the decay is min(m, (1 + t) / (10 + t))."""

    def __init__(self, num_classes: int, momentum: float, num_deviations: float) -> None:
        self.momentum, self.num_deviations = momentum, num_deviations
        self.mean, self.variance, self.steps = 1 / num_classes, 1.0, 0
        self.marginal = np.full(num_classes, 1 / num_classes)

    def weights(self, weak: Rows, *, aligned: bool) -> list[float]:
        """The weight of each row, after the running statistics took in the rows."""
        keep = min(self.momentum, (1 + self.steps) / (10 + self.steps))
        self.steps += 1
        q = softmax(weak)
        self.marginal = keep * self.marginal + (1 - keep) * q.mean(0)
        if aligned:
            q = q * (1 / len(self.marginal)) / self.marginal
            q = q / q.sum(-1, keepdims=True)
        confidence = q.max(-1)
        self.mean = keep * self.mean + (1 - keep) * confidence.mean()
        self.variance = keep * self.variance + (1 - keep) * confidence.var(ddof=1)
        width = 2 * self.variance / self.num_deviations**2
        return [1.0 if c >= self.mean else float(np.exp(-((c - self.mean) ** 2) / width)) for c in confidence]

    def loss(self, weak: Rows, strong: Rows, cut_off: float, *, aligned: bool = True) -> float:
        """Equation 2 with the weights above; the target is the class of the prediction before alignment."""
        total = 0.0
        for weight, q, row in zip(self.weights(weak, aligned=aligned), softmax(weak), strong, strict=True):
            if weight >= cut_off:
                total += weight * cross_entropy(one_hot(int(q.argmax()), len(q)), row)
        return total / len(weak)
