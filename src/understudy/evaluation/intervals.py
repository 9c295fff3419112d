"""Confidence intervals of accuracies measured on n images."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from understudy.core.errors import DataError

NUM_RESAMPLES = 10_000  # 250 in each tail: between seeds a bound varies by 3 % of a standard deviation
_PRIOR_IMAGES = 2  # see `_bootstrap`
Ints = NDArray[np.integer]


@dataclass(frozen=True)
class Interval:
    """A range that contains the true value in a share `level` of all repetitions."""

    low: float
    high: float
    level: float = 0.95

    def __contains__(self, value: float) -> bool:
        return self.low <= value <= self.high


def accuracy_interval(
    labels: Ints,
    predictions: Ints,
    *,
    method: Literal["wilson", "bootstrap"] = "wilson",
    level: float = 0.95,
    seed: int = 0,
) -> Interval:
    """The interval of the accuracy.

    Wilson's is the default: at n = 40 it covers the truth in 94 to 97 % of cases for true accuracies of 70 to 97 %,
    and the percentile bootstrap in 91 to 99.9 %. At 0 and 100 % the bootstrap falls back to Wilson's.

    Args:
        seed: Seed of the bootstrap; Wilson's interval needs none.

    Raises:
        DataError: There are no images, or labels and predictions differ in number.
    """
    right = right_predictions(labels, predictions)
    if method == "wilson":
        return wilson(int(right.sum()), len(right), level=level)
    return _bootstrap(np.array([right.sum()]), np.array([len(right)]), level, seed)


def balanced_accuracy_interval(
    labels: Ints, predictions: Ints, *, level: float = 0.95, seed: int = 0, num_resamples: int = NUM_RESAMPLES
) -> Interval:
    """The bootstrap interval of the mean recall over the classes that occur, each class resampled separately.

    Raises:
        DataError: There are no images, or labels and predictions differ in number.
    """
    right = right_predictions(labels, predictions)
    _, group, totals = np.unique(labels, return_inverse=True, return_counts=True)
    return _bootstrap(np.bincount(group, weights=right), totals, level, seed, num_resamples)


def wilson(num_right: int, n: int, *, level: float = 0.95) -> Interval:
    """Wilson's score interval of the proportion `num_right / n`, never empty and always inside [0, 1]."""
    from scipy.stats import binomtest

    bounds = binomtest(num_right, n).proportion_ci(confidence_level=level, method="wilson")
    return Interval(float(bounds.low), float(bounds.high), level)


def _bootstrap(
    right: NDArray[np.floating | np.integer], totals: Ints, level: float, seed: int, num_resamples: int = NUM_RESAMPLES
) -> Interval:
    """The percentile interval of the mean accuracy over groups.

    Resampling zeros and ones with replacement is the same as drawing from a binomial. A few images that are all right
    would never vary, so each group's accuracy is first shrunk towards the mean with the weight of `_PRIOR_IMAGES`
    images: with ten classes of 2 to 80 images and recalls of 90 %, 92 % of the intervals contain the truth, and 81 %
    without it.
    """
    from scipy.stats import norm

    shares = right / totals
    estimate = float(shares.mean())
    if estimate in (0.0, 1.0):
        # All resamples are equal. The mean of the shares varies like a single share of this many images.
        quantile = norm.ppf((1 + level) / 2) ** 2
        images = len(totals) ** 2 / float(np.sum(1 / totals))
        margin = float(quantile / (images + quantile))
        return Interval(1 - margin, 1.0, level) if estimate else Interval(0.0, margin, level)
    likely = (right + _PRIOR_IMAGES * estimate) / (totals + _PRIOR_IMAGES)
    rng = np.random.default_rng(seed)
    means = np.zeros(num_resamples)
    for share, total in zip(likely, totals, strict=True):
        means += rng.binomial(int(total), share, num_resamples) / total
    means = means / len(totals) + (estimate - likely.mean())
    low, high = np.clip(np.quantile(means, [(1 - level) / 2, (1 + level) / 2]), 0.0, 1.0)
    return Interval(min(float(low), estimate), max(float(high), estimate), level)


def right_predictions(labels: Ints, predictions: Ints) -> NDArray[np.bool_]:
    """A mask of the predictions that equal their labels."""
    labels, predictions = np.asarray(labels), np.asarray(predictions)
    if labels.ndim != 1 or labels.shape != predictions.shape:
        raise DataError(
            f"labels of shape {labels.shape} and predictions of shape {predictions.shape} do not belong together; "
            "give one class number per image in both"
        )
    if len(labels) == 0:
        raise DataError("there is no labeled image to evaluate on; give at least one")
    equal: NDArray[np.bool_] = labels == predictions
    return equal
