"""What more labels would buy: a power law through the accuracies of several numbers of labels, followed further."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from jaxtyping import Float
from numpy.typing import NDArray

from understudy.core.errors import DataError
from understudy.evaluation.intervals import Interval

Errors = Float[np.ndarray, "r c"]
"""Mean errors in rows, one per resample, at every count of labels."""

_RATES = (0.02, 4.0)
_GRID = 60
_LEAST_ERROR = 1e-3
_FARTHEST = 2


@dataclass(frozen=True)
class LearningCurve:
    """The curve 1 - (floor + scale * (n / counts[-1]) ** -rate) of accuracy over n labels.

    Args:
        floor: The error that no number of labels removes.
        scale: The rest of the error at the largest count.
        counts: The numbers of labels measured, rising.
        resamples: By kind of curve and resample of the seeds, floor, scale and rate; empty when no count has two seeds.
        widening: What the percentiles' distance from the estimate is multiplied by, because seeds are few.
    """

    floor: float
    scale: float
    rate: float
    counts: tuple[int, ...]
    level: float
    resamples: NDArray[np.float64] = field(repr=False, compare=False)
    widening: float = 1.0

    def predict(self, n: float) -> float:
        """The accuracy expected of n labels."""
        return float(1 - self._errors(np.array([self.floor, self.scale, self.rate]), n))

    def more(self, num_labels: int) -> tuple[float, Interval | None] | None:
        """The accuracy that so many labels beyond the largest count would add, and its interval (none from one seed).

        None beyond twice the largest count, where a curve through a few points says nothing.

        Raises:
            DataError: The number of labels is not positive.
        """
        if num_labels < 1:
            raise DataError(f"{num_labels} more labels buy nothing; ask for 1 or more")
        largest = self.counts[-1]
        wanted = largest + num_labels
        if wanted > _FARTHEST * largest:
            return None
        gain = self.predict(wanted) - self.predict(largest)
        if not len(self.resamples):
            return gain, None
        gains = self._errors(self.resamples, largest) - self._errors(self.resamples, wanted)
        lows, highs = np.quantile(gains, [(1 - self.level) / 2, (1 + self.level) / 2], axis=1)
        low, high = (gain + self.widening * (end - gain) for end in (lows.min(), highs.max()))
        most = 1 - self.predict(largest)
        return gain, Interval(float(np.clip(low, 0, gain)), float(np.clip(high, gain, most)), self.level)

    def sentence(self, num_labels: int) -> str:
        """What so many more labels would buy in words, or why that cannot be said.

        Raises:
            DataError: The number of labels is not positive.
        """
        found = self.more(num_labels)
        labels = "1 more label" if num_labels == 1 else f"{num_labels:,} more labels"
        first, last = self.counts[0], self.counts[-1]
        if found is None:
            return (
                f"What {labels} would buy cannot be said: the curve was measured up to {last:,} labels, and twice as "
                f"many, {_FARTHEST * last:,}, is as far as it can be followed."
            )
        gain, interval = found
        between = ""
        if interval is not None:
            percent = f"{100 * interval.level:.0f} %"
            between = f" ({percent} interval {100 * interval.low:.1f} to {100 * interval.high:.1f})"
        return (
            f"{labels} would buy about {100 * gain:.1f} points{between}, if the curve goes on as it does from "
            f"{first:,} to {last:,} labels."
        )

    def _errors(self, curves: NDArray[np.float64], n: float) -> NDArray[np.float64]:
        floor, scale, rate = np.moveaxis(curves, -1, 0)
        errors: NDArray[np.float64] = floor + scale * (n / self.counts[-1]) ** -rate
        return errors


def learning_curve(
    accuracies: Mapping[int, Sequence[float]], *, level: float = 0.95, num_resamples: int = 1000, seed: int = 0
) -> LearningCurve | None:
    """The power law nearest to the mean errors, relative to their size, with floor >= 0 and scale >= 0.

    With two counts of labels the floor is 0; with fewer there is no curve, and None. The uncertainty is the
    bootstrap's: the seeds of each count are drawn anew, independently of those of other counts, and the curve fitted
    again. Few seeds vary too little when drawn from themselves, so deviations from the mean of k seeds are stretched by
    sqrt(k / (k - 1)), and percentiles by the ratio of Student's t to the normal quantile, with the degrees of freedom
    of the two largest counts, on which the gain depends most. Where a floor of 0 is among the likely ones the pure
    power law is fitted to the same draws too, and the interval holds both. So made, 95 % intervals from 3 to 10 seeds
    at 3 or 5 counts held the truth in 92 to 99 % of simulated cases.

    Args:
        accuracies: By number of labels, one accuracy per seed, in [0, 1].
        seed: Of the bootstrap.

    Raises:
        DataError: A number of labels is not positive, has no accuracy, or one that is not in [0, 1].
    """
    from scipy.stats import norm, t

    counts = tuple(sorted(accuracies))
    errors = [1 - _checked(count, accuracies[count]) for count in counts]
    if len(counts) < 2:
        return None
    means = np.array([of_count.mean() for of_count in errors])
    seeds = np.array([len(of_count) for of_count in errors])
    at = np.array(counts) / counts[-1]
    weights = seeds / np.maximum(means, _LEAST_ERROR) ** 2
    floor, scale, rate = fit_power_law(means[None], at, weights)[0].tolist()
    resamples, widening = np.zeros((0, 0, 3)), 1.0
    if seeds.max() > 1:
        rng = np.random.default_rng(seed)
        drawn = np.stack([_drawn_means(of_count, num_resamples, rng) for of_count in errors], axis=1)
        resamples = fit_power_law(drawn, at, weights)[None]
        quantile = (1 + level) / 2
        if 1 - quantile < (resamples[0, :, 0] == 0).mean() < 1:
            resamples = np.concatenate([resamples, fit_power_law(drawn, at, weights, with_floor=False)[None]])
        widening = float(t.ppf(quantile, max(1, (seeds[-2:] - 1).sum())) / norm.ppf(quantile))
    return LearningCurve(floor, scale, rate, counts, level, resamples, widening)


def fit_power_law(
    errors: Errors,
    at: Float[np.ndarray, "c"],
    weights: Float[np.ndarray, "c"],
    *,
    with_floor: bool = True,
) -> Float[np.ndarray, "r 3"]:
    """Floor, scale and rate of the weighted least squares fit of floor + scale * at ** -rate to every row.

    Given the rate the other two are linear, and solved for; the rate is searched on a grid, then on a finer one around
    the best: all rows at once, and no local optimum. Of fewer than three counts the floor is 0.
    """
    low, high = np.full(len(errors), np.log(_RATES[0])), np.full(len(errors), np.log(_RATES[1]))
    rows = np.arange(len(errors))
    best = np.zeros((len(errors), 3))
    for _ in range(3):
        steps = np.linspace(low, high, _GRID, axis=1)
        floor, scale, loss = _given_rate(errors, at, weights, np.exp(steps), with_floor and len(at) > 2)
        column = loss.argmin(axis=1)
        best = np.stack([one[rows, column] for one in (floor, scale, np.exp(steps))], axis=1)
        low, high = steps[rows, np.maximum(column - 1, 0)], steps[rows, np.minimum(column + 1, _GRID - 1)]
    return best


def _given_rate(
    errors: Errors,
    at: NDArray[np.float64],
    weights: NDArray[np.float64],
    rates: Float[np.ndarray, "r g"],
    with_floor: bool,
) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]:
    """Floor, scale and loss [r g] of the best curves with these rates, neither floor nor scale below 0."""
    shape = np.exp(-rates[..., None] * np.log(at))
    total = weights.sum()
    of_shape, of_square = shape @ weights, shape**2 @ weights
    of_error, both = (errors @ weights)[:, None], np.einsum("rgc,rc,c->rg", shape, errors, weights)
    determinant = total * of_square - of_shape**2
    scale = (total * both - of_shape * of_error) / determinant
    floor = (of_error - scale * of_shape) / total
    if not with_floor:
        floor = np.full_like(floor, -1)
    # Outside the bounds the optimum lies on one of them.
    flat = np.broadcast_to(of_error / total, scale.shape)
    without_floor = np.maximum(both / of_square, 0)
    floor, scale = np.where(scale < 0, flat, floor), np.where(scale < 0, 0, scale)
    floor, scale = np.where(floor < 0, 0, floor), np.where(floor < 0, without_floor, scale)
    loss = np.square(floor[..., None] + scale[..., None] * shape - errors[:, None]) @ weights
    return floor, scale, loss


def _drawn_means(errors: NDArray[np.float64], num_resamples: int, rng: np.random.Generator) -> NDArray[np.float64]:
    """Means over seeds drawn with replacement, their deviations stretched to the variance of a mean of so many."""
    mean, n = errors.mean(), len(errors)
    if n < 2:
        return np.full(num_resamples, mean)
    drawn = errors[rng.integers(0, n, (num_resamples, n))].mean(axis=1)
    means: NDArray[np.float64] = np.maximum(mean + (drawn - mean) * np.sqrt(n / (n - 1)), 0.0)
    return means


def _checked(count: int, accuracies: Sequence[float]) -> NDArray[np.float64]:
    figures = np.asarray(accuracies, dtype=np.float64)
    if count < 1 or figures.ndim != 1 or len(figures) == 0 or not ((figures >= 0) & (figures <= 1)).all():
        raise DataError(
            f"accuracies {list(accuracies)} of {count} labels are no point of a curve; give a positive number of "
            "labels and for it one accuracy in [0, 1] per seed"
        )
    return figures
