"""The equations of MixMatch and ReMixMatch, row by row in NumPy, and images and networks to hold the losses against."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn

from tests.methods import paper
from tests.methods.fixed import COUNTS, B, Case, Fixed, K, U
from tests.methods.paper import Rows
from understudy.core.seeding import generator

SIDE = 4
FILTERS = np.random.default_rng(3).normal(0, 2, (SIDE * SIDE, K))
TURN_WEIGHT, TURN_BIAS = np.random.default_rng(4).normal(0, 1, (4, K // 2)), np.array([0.1, -0.2, 0.3, 0.0])


class Pictures(Case):
    """One step's rows as small gray images."""

    def __init__(self, seed: int = 0) -> None:
        super().__init__(seed)
        rng = np.random.default_rng(seed)
        for name in ("labeled", "weak", "weak1", "weak2", "strong", "strong1", "strong2"):
            count = B if name == "labeled" else U
            setattr(self, name, rng.uniform(-1, 1, (count, 1, SIDE, SIDE)).astype(np.float32))


class FixedOnImages(Fixed):
    """Networks whose logits are the pixels times fixed filters times a factor that takes the gradient.

    Predictions hang on the factor too, so that a target that is not cut off shows in its gradient.
    """

    def __init__(self) -> None:
        turns = nn.Linear(K // 2, 4)
        turns.weight.data, turns.bias.data = (torch.from_numpy(v).float() for v in (TURN_WEIGHT, TURN_BIAS))
        super().__init__(rotation=turns)

    def logits(self, *views: Tensor) -> tuple[Tensor, ...]:
        return super().logits(*(view.flatten(1) @ torch.from_numpy(FILTERS).float() for view in views))

    def predict_in_training(self, *views: Tensor, by: str = "ema") -> tuple[Tensor, ...]:
        self.asked.append(f"{by} in training")
        scaled = self.factor * (1.0 if by == "ema" else 1.5)
        return tuple(view.flatten(1) @ torch.from_numpy(FILTERS).float() * scaled for view in views)

    @contextlib.contextmanager
    def still_statistics(self) -> Iterator[None]:
        self.asked.append("still")
        yield
        self.asked.append("moving")


def logits(images: Rows, factor: Rows | float = 1.0) -> Rows:
    """The fixed networks' logits."""
    return images.reshape(len(images), -1).astype(np.float64) @ FILTERS * factor


def sharpen(q: Rows, temperature: float) -> Rows:
    """MixMatch, equation 7; its limit at temperature 0."""
    if temperature == 0:
        return paper.one_hot(int(q.argmax()), len(q))
    powers = np.array([p ** (1 / temperature) for p in q])
    return powers / powers.sum()


def mixed(images: Rows, labels: Rows, alpha: float, mix: str) -> tuple[Rows, Rows]:
    """MixMatch, algorithm 1, lines 10 to 15 with equations 8 to 11; or a box of the partner instead of its shade."""
    rng = generator("mixing")
    order, drawn = rng.permutation(len(images)), rng.beta(alpha, alpha, len(images))
    centers = rng.random((len(images), 2)) * SIDE
    new_images, new_labels = [], []
    for row, partner in enumerate(order):
        keep = max(drawn[row], 1 - drawn[row])
        if mix == "mixup":
            image = keep * images[row] + (1 - keep) * images[partner]
        else:
            image, half = images[row].copy(), SIDE * np.sqrt(1 - keep) / 2
            bounds = [(round(max(0, c - half)), round(min(SIDE, c + half))) for c in centers[row]]
            (top, bottom), (left, right) = bounds
            image[:, top:bottom, left:right] = images[partner][:, top:bottom, left:right]
            keep = 1 - (bottom - top) * (right - left) / SIDE**2
        new_images.append(image)
        new_labels.append(keep * labels[row] + (1 - keep) * labels[partner])
    return np.array(new_images), np.array(new_labels)


def supervised(case: Case, targets: Rows, rows: Rows) -> float:
    """MixMatch, equation 3, with the rows' weights."""
    return sum(float(w) * paper.cross_entropy(p, x) for w, p, x in zip(case.weight, targets, rows, strict=True)) / B


def mixmatch(
    case: Case, *, num_views: int, temperature: float, alpha: float, mix: str, scale: float, factor: Rows | float = 1.0
) -> tuple[float, float]:
    """Berthelot et al. (2019), algorithm 1: equations 3 and 4.

    Args:
        scale: Of the guessing network's logits.
        factor: Of the trained network's logits.
    """
    views = [getattr(case, f"weak{k or ''}") for k in range(num_views)]
    mean = sum(paper.softmax(scale * logits(view)) for view in views) / num_views  # line 7
    guess = np.array([sharpen(q, temperature) for q in mean])  # line 8
    labels = np.array([paper.one_hot(y, K) for y in case.labels])
    x, p = mixed(np.concatenate([case.labeled, *views]), np.concatenate([labels, *[guess] * num_views]), alpha, mix)
    z = logits(x, factor)
    l2 = sum(((q - r) ** 2).sum() for q, r in zip(p[B:], paper.softmax(z[B:]), strict=True))
    return supervised(case, p[:B], z[:B]), l2 / (K * num_views * U)


@dataclass
class ReMixMatch:
    """Berthelot et al. (2020), algorithm 1 and section 3.3; the balance's decay is min(m, (1 + t) / (10 + t))."""

    num_views: int
    temperature: float
    alpha: float
    mix: str
    momentum: float
    scale: float
    steps: int = 0

    def __post_init__(self) -> None:
        self.balance = np.full(K, 1 / K)

    def loss(self, case: Case, factor: Rows | float = 1.0) -> dict[str, float]:
        """The four sums of section 3.3, as means and without their weights."""
        q = paper.softmax(self.scale * logits(case.weak))
        keep = min(self.momentum, (1 + self.steps) / (10 + self.steps))
        self.steps += 1
        self.balance = keep * self.balance + (1 - keep) * q.mean(0)
        aligned = q * (np.array(COUNTS) / sum(COUNTS)) / self.balance  # section 3.1
        guess = np.array([sharpen(row / row.sum(), self.temperature) for row in aligned])
        strong = [getattr(case, f"strong{k or ''}") for k in range(self.num_views)]
        labels = np.array([paper.one_hot(y, K) for y in case.labels])
        images = np.concatenate([case.labeled, *strong, case.weak])
        targets = np.concatenate([labels, *[guess] * (self.num_views + 1)])
        x, p = mixed(images, targets, self.alpha, self.mix)
        z = logits(x, factor)
        turns = generator("rotation").integers(0, 4, U)
        turned = np.array([np.rot90(u, r, axes=(1, 2)) for u, r in zip(strong[0], turns, strict=True)])
        turn_logits = logits(turned, factor)[:, : K // 2] @ TURN_WEIGHT.T + TURN_BIAS
        return {
            "supervised": supervised(case, p[:B], z[:B]),
            "unsupervised": _mean_cross_entropy(p[B:], z[B:]),
            "unmixed": _mean_cross_entropy(guess, logits(strong[0], factor)),
            "rotation": _mean_cross_entropy(np.eye(4)[turns], turn_logits),
        }


def _mean_cross_entropy(targets: Rows, rows: Rows) -> float:
    return sum(paper.cross_entropy(t, z) for t, z in zip(targets, rows, strict=True)) / len(rows)
