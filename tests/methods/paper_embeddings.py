"""The papers' equations on embeddings and shrunk classes, row by row in NumPy and float64."""

from __future__ import annotations

import numpy as np

from tests.methods.paper import Rows, cross_entropy, softmax


def unit(z: Rows) -> Rows:
    """The vector's direction."""
    return z / np.sqrt((z.astype(np.float64) ** 2).sum())


class UniformAlignment:
    """Predictions over their running mean, with decay min(m, (1 + t) / (10 + t)), rescaled."""

    def __init__(self, num_classes: int, momentum: float) -> None:
        self.mean, self.momentum, self.steps = np.full(num_classes, 1 / num_classes), momentum, 0

    def __call__(self, probs: Rows) -> Rows:
        keep = min(self.momentum, (1 + self.steps) / (10 + self.steps))
        self.steps += 1
        self.mean = keep * self.mean + (1 - keep) * probs.mean(0)
        aligned = probs / self.mean
        return aligned / aligned.sum(-1, keepdims=True)


def soft_consistency(targets: Rows, strong: Rows, threshold: float) -> float:
    """Mean cross-entropy to soft targets, of those whose largest probability reaches the threshold."""
    total = sum(cross_entropy(q, row) for q, row in zip(targets, strong, strict=True) if q.max() >= threshold)
    return float(total) / len(strong)


class SimMatch:
    """Zheng et al. (2022); the bank maps a labeled row's id to its embedding and class."""

    def __init__(self, num_classes: int, *, alpha: float, temperature: float, momentum: float, da: float) -> None:
        self.alpha, self.t, self.m = alpha, temperature, momentum
        self.align = UniformAlignment(num_classes, da)
        self.bank: dict[int, tuple[Rows, int]] = {}

    def relation(self, z: Rows) -> dict[int, float]:
        """Equations 3 and 4."""
        powers = {i: np.exp(unit(z) @ stored / self.t) for i, (stored, _) in self.bank.items()}
        return {i: power / sum(powers.values()) for i, power in powers.items()}

    def losses(self, weak: Rows, strong: Rows, z_weak: Rows, z_strong: Rows, threshold: float) -> tuple[float, float]:
        """Equations 2 and 5 with the targets of equations 7 to 10."""
        probs = self.align(softmax(weak))
        if not self.bank:
            return soft_consistency(probs, strong, threshold), 0.0
        targets, instance = [], 0.0
        for p, zw, zs in zip(probs, z_weak, z_strong, strict=True):
            q_weak, q_strong = self.relation(zw), self.relation(zs)
            unfold = {i: p[label] for i, (_, label) in self.bank.items()}  # equation 7
            total = sum(q_weak[i] * unfold[i] for i in self.bank)
            calibrated = {i: q_weak[i] * unfold[i] / total for i in self.bank}  # equation 8
            instance -= sum(calibrated[i] * np.log(q_strong[i]) for i in self.bank)  # equation 5
            near = np.array([sum(q_weak[i] for i in self.bank if self.bank[i][1] == k) for k in range(len(p))])  # 9
            targets.append(self.alpha * p + (1 - self.alpha) * near)  # equation 10
        return soft_consistency(np.array(targets), strong, threshold), instance / len(weak)

    def remember(self, ids: Rows, z: Rows, labels: Rows) -> None:
        """Equation 12, for the mean direction of an id that comes more than once."""
        for i in set(ids.tolist()):
            mean = np.mean([unit(row) for row in z[ids == i]], axis=0)
            old = self.bank[i][0] if i in self.bank else np.zeros_like(mean)
            self.bank[i] = unit(self.m * old + (1 - self.m) * mean), int(labels[ids == i][0])


class CoMatch:
    """Li et al. (2021); the queue holds embeddings with class probabilities, oldest first."""

    def __init__(self, num_classes: int, *, alpha: float, temperature: float, edge: float, size: int, da: float):
        self.alpha, self.t, self.edge, self.size = alpha, temperature, edge, size
        self.align = UniformAlignment(num_classes, da)
        self.queue: list[tuple[Rows, Rows]] = []

    def pseudo_labels(self, weak: Rows, z_weak: Rows) -> tuple[Rows, Rows]:
        """Equations 7 and 8, and the aligned predictions."""
        probs = self.align(softmax(weak))
        if not self.queue:
            return probs, probs
        smoothed = []
        for p, z in zip(probs, z_weak, strict=True):
            a = np.array([np.exp(unit(z) @ stored / self.t) for stored, _ in self.queue])  # equation 7
            near = sum(weight * q for weight, (_, q) in zip(a / a.sum(), self.queue, strict=True))
            smoothed.append(self.alpha * p + (1 - self.alpha) * near)  # equation 8
        return np.array(smoothed), probs

    def remember(self, z: Rows, probs: Rows) -> None:
        """Put rows at the end, and let the first ones fall out."""
        self.queue = (self.queue + [(unit(a), q) for a, q in zip(z, probs, strict=True)])[-self.size :]

    def contrastive(self, q: Rows, z: Rows, other: Rows) -> float:
        """Equations 9 and 11, with equation 10 as in the authors' code."""
        n, total = len(q), 0.0
        for b in range(n):
            ties = [1.0 if j == b else (float(q[b] @ q[j]) if q[b] @ q[j] >= self.edge else 0.0) for j in range(n)]
            similarity = [np.exp(unit(z[b]) @ unit(other[j]) / self.t) for j in range(n)]
            for tie, near in zip(ties, similarity, strict=True):
                total -= tie / sum(ties) * np.log(near / sum(similarity))
        return float(total) / n


def shrink(p: Rows, threshold: float) -> list[int]:
    """Yang et al. (2023), section 3: the likeliest class and the least removal that makes it certain, or nothing."""
    order = np.argsort(-p)
    for first in range(2, len(p)):
        if p[order[0]] / (p[order[0]] + p[order[first:]].sum()) >= threshold:
            return [int(order[0]), *(int(k) for k in order[first:])]
    return []


class ShrinkMatch:
    """Yang et al. (2023), section 3, with the decay min(m, (1 + t) / (10 + t)) of the share of certain rows."""

    def __init__(self, num_classes: int, *, momentum: float, da: float) -> None:
        self.align, self.momentum = UniformAlignment(num_classes, da), momentum
        self.share, self.steps = 0.0, 0

    def losses(self, weak: Rows, strong: Rows, auxiliary: Rows, threshold: float) -> tuple[float, float]:
        """The losses of certain and of uncertain rows."""
        probs, shrunk = self.align(softmax(weak)), 0.0
        certain = float(np.mean([p.max() >= threshold for p in probs]))
        keep = 0.0 if self.steps == 0 else min(self.momentum, (1 + self.steps) / (10 + self.steps))
        self.steps += 1
        self.share = keep * self.share + (1 - keep) * certain
        for p, logits in zip(probs, auxiliary, strict=True):
            left = [] if p.max() >= threshold else shrink(p, threshold)
            if left:
                powers = np.exp(logits[left].astype(np.float64))
                shrunk -= p.max() * np.log(powers[0] / powers.sum())
        return soft_consistency(probs, strong, threshold), self.share * shrunk / len(weak)
