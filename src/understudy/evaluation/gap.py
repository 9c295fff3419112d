"""How much of what all labels would add to a few of them a method gets from the same images without labels."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

from understudy.core.errors import DataError
from understudy.evaluation.intervals import Interval


def share_of_gap(
    supervised: ArrayLike, method: ArrayLike, full: ArrayLike, *, level: float = 0.95
) -> tuple[float, Interval | None] | None:
    """The share of the gap between few labels and all of them that the method closes, and its interval over seeds.

    The share is that of the mean accuracies, (method - supervised) / (full - supervised); below 0 where the method
    hurts, above 1 where it beats full supervision. The interval is Fieller's (1954) of a ratio of paired means. None
    when the gap is not positive with confidence, for then the ratio may be anything; no interval from one seed. Where a
    gap is often too small to be certain, those intervals that there are hold the truth a little less often: 87 to 95 %.

    Args:
        supervised: Accuracy of training on the few labels, one per seed.
        method: Of the method, with the same seeds in the same order.
        full: Of training on all labels, one per seed, or one figure that is taken to be exact.

    Raises:
        DataError: There is no seed, or not one figure of each per seed.
    """
    from scipy.stats import t

    gained, gap = _differences(supervised, method, full)
    n = len(gap)
    if n < 2:
        return (float(gained[0] / gap[0]), None) if gap[0] > 0 else None
    quantile = float(t.ppf((1 + level) / 2, n - 1)) ** 2 / n
    (of_gained, both), (_, of_gap) = np.cov(gained, gap)
    # The shares x for which the mean of gained - x * gap lies within its own t interval: a x² - 2 b x + c <= 0.
    a = gap.mean() ** 2 - quantile * of_gap
    b = gained.mean() * gap.mean() - quantile * both
    c = gained.mean() ** 2 - quantile * of_gained
    if gap.mean() <= 0 or a <= 0:
        return None
    half = float(np.sqrt(max(0.0, b**2 - a * c)) / a)
    return float(gained.mean() / gap.mean()), Interval(float(b / a) - half, float(b / a) + half, level)


def gap_sentence(supervised: ArrayLike, method: ArrayLike, full: ArrayLike, *, name: str = "The method") -> str:
    """The share in words, or why there is none.

    Raises:
        DataError: There is no seed, or not one figure of each per seed.
    """
    found = share_of_gap(supervised, method, full)
    n = len(_differences(supervised, method, full)[1])
    seeds = "1 seed" if n == 1 else f"{n} seeds"
    if found is None:
        return (
            f"What share of the gap to full supervision is closed cannot be said: over {seeds} it is not certain that "
            "all labels do better than few."
        )
    share, interval = found
    uncertainty = "" if interval is None else f"95 % interval {100 * interval.low:.0f} to {100 * interval.high:.0f}, "
    return (
        f"{name} closes {100 * share:.0f} % of the gap between training on the labels alone and on all images with "
        f"their labels ({uncertainty}{seeds})."
    )


def _differences(
    supervised: ArrayLike, method: ArrayLike, full: ArrayLike
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """By seed, what the method adds to the few labels, and what all labels add."""
    few, own, whole = (np.atleast_1d(np.asarray(one, dtype=np.float64)) for one in (supervised, method, full))
    if few.ndim != 1 or len(few) == 0 or few.shape != own.shape or whole.shape not in ((1,), few.shape):
        raise DataError(
            f"accuracies of shape {few.shape}, {own.shape} and {whole.shape} do not belong together; give one per seed "
            "for few labels and for the method, and one per seed or a single one for all labels"
        )
    return own - few, whole - few
