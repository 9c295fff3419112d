"""The share of the gap between few labels and all labels that a method closes without more labels."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

from understudy.core.errors import DataError
from understudy.evaluation.intervals import Interval


def share_of_gap(
    supervised: ArrayLike, method: ArrayLike, full: ArrayLike, *, level: float = 0.95
) -> tuple[float, Interval | None] | None:
    """The share of the gap between few labels and all of them that the method closes, and its interval over seeds.

    The share is that of the mean accuracies, (method - supervised) / (full - supervised): below 0 if the method hurts,
    above 1 if it beats full supervision. The interval is Fieller's (1954) for a ratio of paired means; one seed gives
    none. The result is None if the gap is not significantly positive, because the ratio could then be anything. If a
    gap is often too small, the remaining intervals contain the truth a little less often, in 87 to 95 % of cases.

    Args:
        supervised: Accuracy with the few labels, one per seed.
        method: Accuracy of the method, for the same seeds in the same order.
        full: Accuracy with all labels, one per seed, or a single one that is taken to be exact.

    Raises:
        DataError: There is no seed, or the numbers of accuracies differ.
    """
    from scipy.stats import t

    gained, gap = _differences(supervised, method, full)
    n = len(gap)
    if n < 2:
        return (float(gained[0] / gap[0]), None) if gap[0] > 0 else None
    quantile = float(t.ppf((1 + level) / 2, n - 1)) ** 2 / n
    (of_gained, both), (_, of_gap) = np.cov(gained, gap)
    # All shares x for which the t interval of the mean of gained - x * gap contains zero: a x² - 2 b x + c <= 0.
    a = gap.mean() ** 2 - quantile * of_gap
    b = gained.mean() * gap.mean() - quantile * both
    c = gained.mean() ** 2 - quantile * of_gained
    if gap.mean() <= 0 or a <= 0:
        return None
    half = float(np.sqrt(max(0.0, b**2 - a * c)) / a)
    return float(gained.mean() / gap.mean()), Interval(float(b / a) - half, float(b / a) + half, level)


def gap_sentence(supervised: ArrayLike, method: ArrayLike, full: ArrayLike, *, name: str = "The method") -> str:
    """The share in words, or the reason why there is none.

    Raises:
        DataError: There is no seed, or the numbers of accuracies differ.
    """
    closed = share_of_gap(supervised, method, full)
    n = len(_differences(supervised, method, full)[1])
    seeds = "1 seed" if n == 1 else f"{n} seeds"
    if closed is None:
        return (
            f"What share of the gap to full supervision is closed cannot be said: over {seeds} it is not certain that "
            "all labels do better than few."
        )
    share, interval = closed
    uncertainty = "" if interval is None else f"95 % interval {100 * interval.low:.0f} to {100 * interval.high:.0f}, "
    return (
        f"{name} closes {100 * share:.0f} % of the gap between training on the labels alone and on all images with "
        f"their labels ({uncertainty}{seeds})."
    )


def _differences(
    supervised: ArrayLike, method: ArrayLike, full: ArrayLike
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Per seed, the gains of the method and of all labels over the few labels."""
    few, own, whole = (np.atleast_1d(np.asarray(accuracy, dtype=np.float64)) for accuracy in (supervised, method, full))
    if few.ndim != 1 or len(few) == 0 or few.shape != own.shape or whole.shape not in ((1,), few.shape):
        raise DataError(
            f"accuracies of shape {few.shape}, {own.shape} and {whole.shape} do not belong together; give one per seed "
            "for few labels and for the method, and one per seed or a single one for all labels"
        )
    return own - few, whole - few
