"""The equations of the consistency losses in NumPy and float64, and networks to hold the methods against them."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from tests.methods.fixed import Fixed
from tests.methods.paper import softmax

Rows = NDArray[Any]
TEACHER = 0.8


class Attached(Fixed):
    """Fixed networks whose predictions hang on the same factor, so that a missing detach shows in its gradient."""

    def __init__(self) -> None:
        super().__init__()
        self.still = False

    def logits(self, *views: Tensor) -> tuple[Tensor, ...]:
        logits = super().logits(*views)
        self.asked[-1] += " still" * self.still
        return logits

    def predict_in_training(self, *views: Tensor) -> tuple[Tensor, ...]:
        self.asked.append("ema")
        return tuple(view * self.factor * TEACHER for view in views)

    @contextlib.contextmanager
    def still_statistics(self) -> Iterator[None]:
        self.still = True
        yield
        self.still = False


def gaussian_ramp_up(progress: float, end: float) -> float:
    """Laine and Aila (2017), section 2.1; Tarvainen and Valpola (2017), appendix B.1."""
    if progress >= end:
        return 1.0
    return float(np.exp(-5 * (1 - progress / end) ** 2))


def squared_difference(one: Rows, other: Rows) -> float:
    """Laine and Aila (2017), algorithm 1: 1 / (C |B|) sum_i |z_i - z'_i|^2, of logits."""
    total = 0.0
    for z, z_other in zip(softmax(one), softmax(other), strict=True):
        for left, right in zip(z, z_other, strict=True):
            total += (left - right) ** 2
    return total / one.size


def kl(p: Rows, q: Rows) -> float:
    """KL[p, q] of two distributions, in nats."""
    return float(sum(a * np.log(a / b) for a, b in zip(p, q, strict=True)))


def entropy(logits: Rows) -> float:
    """Mean conditional entropy -sum_y p log p of the rows, in nats."""
    return float(np.mean([-sum(a * np.log(a) for a in p) for p in softmax(logits)]))


def unit(d: Rows) -> Rows:
    """The vector at a root mean square of 1."""
    return d / np.sqrt(np.mean(d**2))


def perturbations(x: Rows, noise: Rows, *, epsilon: float, xi: float, num_iterations: int) -> Rows:
    """Miyato et al. (2018), equations 14 to 16, for a network whose logits are its inputs, in batch deviations."""
    sigma, result = x.std(0), []
    for row, d in zip(x.astype(np.float64), noise.astype(np.float64), strict=True):
        d, p = unit(d), softmax(row[None])[0]
        for _ in range(num_iterations):
            # The gradient of KL[p, softmax(z)] with respect to z is softmax(z) - p.
            d = unit(sigma * (softmax((row + xi * sigma * d)[None])[0] - p))
        result.append(epsilon * sigma * d)
    return np.array(result)


def local_smoothness(clean: Rows, perturbed: Rows) -> float:
    """Miyato et al. (2018), equations 5 and 7, of logits."""
    return float(np.mean([kl(p, q) for p, q in zip(softmax(clean), softmax(perturbed), strict=True)]))


def gradient(function: Callable[[Rows], float], size: int) -> Rows:
    """Central differences of a function of a factor, at a factor of ones."""
    nudges = 1e-5 * np.eye(size)
    return np.array([(function(1 + nudge) - function(1 - nudge)) / 2e-5 for nudge in nudges])
