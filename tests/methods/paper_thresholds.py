"""Thresholds of UDA, Dash, FlexMatch, FreeMatch and AdaMatch as their papers print them, row by row in NumPy."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from tests.methods.paper import Rows, cross_entropy, one_hot, softmax


def slope(function: Callable[[Rows], float], num_classes: int, distance: float = 1e-5) -> Rows:
    """The gradient of a function of one factor per class, at ones, by central differences."""
    gradient = np.zeros(num_classes)
    for k in range(num_classes):
        shift = distance * one_hot(k, num_classes)
        gradient[k] = (function(1 + shift) - function(1 - shift)) / (2 * distance)
    return gradient


def masked(targets: Sequence[Rows], mask: Sequence[bool], strong: Rows) -> float:
    """(1 / mu B) times the sum of H(target, strong) over the rows that count."""
    rows = zip(targets, mask, strong, strict=True)
    return sum(cross_entropy(target, row) for target, counts, row in rows if counts) / len(strong)


def classes(q: Rows) -> list[Rows]:
    """The class of each prediction, as a distribution."""
    return [one_hot(int(row.argmax()), len(row)) for row in q]


# UDA (Xie et al., 2020)


def uda(weak: Rows, strong: Rows, threshold: float, temperature: float) -> float:
    """Equation 1's second term with section 2.3: I(max p > beta) and targets exp(z / tau) / sum exp(z / tau)."""
    return masked(list(softmax(weak / temperature)), list(softmax(weak).max(-1) > threshold), strong)


def annealed_supervised(logits: Rows, labels: Rows, weight: Rows, schedule: str, done: float) -> float:
    """Training signal annealing: (1 / Z) sum I(p(y*) < eta_t) (-log p(y*)), eta_t = alpha_t (1 - 1/K) + 1/K."""
    num_classes = logits.shape[1]
    alpha = {"linear": done, "log": 1 - np.exp(-done * 5), "exp": np.exp((done - 1) * 5)}[schedule]
    eta = alpha * (1 - 1 / num_classes) + 1 / num_classes
    total, kept = 0.0, 0
    for row, label, w in zip(logits, labels, weight, strict=True):
        if softmax(row[None])[0, label] < eta:
            total += w * cross_entropy(one_hot(label, num_classes), row)
            kept += 1
    return total / max(kept, 1)


# Dash (Xu et al., 2021)


class Dash:
    """Algorithm 1 with t - 1 = floor(reductions x share of the second phase), on FixMatch's views."""

    def __init__(self, num_classes: int, c: float, gamma: float, rho_min: float, temperature: float) -> None:
        self.rho_hat, self.steps, self.end = float(np.log(num_classes)), 0, 0.0
        self.c, self.gamma, self.rho_min, self.temperature = c, gamma, rho_min, temperature

    def warm_up(self, loss: float, progress: float) -> None:
        """A step of the warm-up stage, whose running loss is rho_hat at its end."""
        keep = min(0.9, (1 + self.steps) / (10 + self.steps))
        self.steps += 1
        self.rho_hat = keep * self.rho_hat + (1 - keep) * loss
        self.end = progress

    def rho(self, progress: float, reductions: int) -> float:
        """rho_t = C gamma^-(t - 1) rho_hat, kept from falling below its least value."""
        t = 1 + int(reductions * (progress - self.end) / (1 - self.end))
        return max(self.rho_min, self.c * self.gamma ** -(t - 1) * self.rho_hat)

    def loss(self, weak: Rows, strong: Rows, rho: float) -> float:
        """The truncated loss: I(f(weak) <= rho_t) f(strong), with sharpened targets until rho_t is least."""
        q = softmax(weak)
        targets = classes(q) if rho <= self.rho_min else list(softmax(weak / self.temperature))
        mask = [cross_entropy(target, row) <= rho for target, row in zip(targets, weak, strict=True)]
        return masked(targets, mask, strong)


# FlexMatch (Zhang et al., 2021)


class FlexMatch:
    """Algorithm 1, with a flag per image."""

    def __init__(self, num_classes: int, num_images: int, threshold: float, mapping: str, *, warm_up: bool) -> None:
        self.num_classes, self.threshold, self.mapping, self.warm_up = num_classes, threshold, mapping, warm_up
        self.flags = [-1] * num_images

    def thresholds(self) -> list[float]:
        """T_t(c) = M(beta_t(c)) tau for every class (equations 5, 6, 7, 11 and 12)."""
        sigma = [sum(flag == c for flag in self.flags) for c in range(self.num_classes)]
        most = max(max(sigma), len(self.flags) - sum(sigma)) if self.warm_up else max(sigma)
        beta = [s / most if most else 0.0 for s in sigma]
        mapped = {
            "convex": [b / (2 - b) for b in beta],
            "linear": beta,
            "concave": [np.log(b + 1) / np.log(2) for b in beta],
        }[self.mapping]
        return [m * self.threshold for m in mapped]

    def loss(self, weak: Rows, strong: Rows, ids: Sequence[int]) -> float:
        """Equation 4 with the thresholds of the flags before this step; then the flags of this step."""
        thresholds, q = self.thresholds(), softmax(weak)
        mask = [row.max() > thresholds[row.argmax()] for row in q]
        for image, row in zip(ids, q, strict=True):
            if row.max() > self.threshold:
                self.flags[image] = int(row.argmax())
        return masked(classes(q), mask, strong)


# FreeMatch (Wang et al., 2023)


class FreeMatch:
    """Equations 5 to 11; lambda is min(momentum, (1 + t) / (10 + t))."""

    def __init__(self, num_classes: int, momentum: float) -> None:
        self.momentum, self.steps, self.tau = momentum, 0, 1 / num_classes
        self.p, self.h = np.full(num_classes, 1 / num_classes), np.full(num_classes, 1 / num_classes)

    def mask(self, q: Rows) -> list[bool]:
        """Which rows count, after the running means took them in."""
        keep = min(self.momentum, (1 + self.steps) / (10 + self.steps))
        self.steps += 1
        histogram = np.bincount(q.argmax(-1), minlength=q.shape[1]) / len(q)
        self.tau = keep * self.tau + (1 - keep) * q.max(-1).mean()  # equation 5
        self.p = keep * self.p + (1 - keep) * q.mean(0)  # equation 6
        self.h = keep * self.h + (1 - keep) * histogram  # equation 10
        thresholds = self.p / self.p.max() * self.tau  # equation 7
        return [row.max() > thresholds[row.argmax()] for row in q]

    def fairness(self, strong: Rows, mask: Sequence[bool]) -> float:
        """Equation 11: -H(SumNorm(p_t / h_t), SumNorm(p / h)), over the classes that h is not 0 for."""
        shown = softmax(strong)[np.array(mask)]
        if not len(shown):
            return 0.0
        p = shown.sum(0) / len(strong)  # equation 9
        h = np.bincount(shown.argmax(-1), minlength=strong.shape[1]) / len(strong)
        here = h > 0
        a = self.p / self.h / (self.p / self.h).sum()
        b = p[here] / h[here] / (p[here] / h[here]).sum()
        return float((a[here] * np.log(b)).sum())


# AdaMatch (Berthelot et al., 2022)


class AdaMatch:
    """Section 3, with running means for the two expectations of equation 4; decay min(m, (1 + t) / (10 + t))."""

    def __init__(self, num_classes: int, momentum: float, threshold: float) -> None:
        self.momentum, self.threshold, self.steps = momentum, threshold, 0
        self.labeled, self.unlabeled = np.full(num_classes, 1 / num_classes), np.full(num_classes, 1 / num_classes)

    def pseudo_labels(self, labeled: Rows, weak: Rows) -> tuple[list[Rows], list[bool]]:
        """Class and mask of each unlabeled row, from weak logits of labeled and unlabeled rows."""
        keep = min(self.momentum, (1 + self.steps) / (10 + self.steps))
        self.steps += 1
        source, target = softmax(labeled), softmax(weak)
        self.labeled = keep * self.labeled + (1 - keep) * source.mean(0)
        self.unlabeled = keep * self.unlabeled + (1 - keep) * target.mean(0)
        aligned = target * self.labeled / self.unlabeled  # equation 4
        aligned = aligned / aligned.sum(-1, keepdims=True)
        c_tau = self.threshold * source.max(-1).mean()  # equation 5
        return classes(aligned), list(aligned.max(-1) >= c_tau)  # equation 6


def interpolated(alone: Rows, joint: Rows, place: Rows) -> Rows:
    """Equation 3: lambda Z' + (1 - lambda) Z'' for each logit, Z' of labeled rows alone and Z'' of all rows."""
    return place * alone + (1 - place) * joint
