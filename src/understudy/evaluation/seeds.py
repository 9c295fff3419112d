"""Statistics of one accuracy per seed or fold: mean, spread and paired gain, in figures and in words."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from understudy.core.errors import DataError
from understudy.core.text import SIGNIFICANCE, counted, listed, p_equals, signed_points
from understudy.evaluation.intervals import Interval, wilson
from understudy.evaluation.paired import Paired
from understudy.evaluation.ranking import holm
from understudy.evaluation.verdict_rule import interval_words

ENOUGH_SEEDS = 5
"""Student's 95 % factor is 12.7 for 2 seeds, 4.3 for 3 and 2.8 for 5; from there on it falls slowly towards 2."""
_ROUNDING = 1e-12  # far below 1 / n of any test set, far above the rounding of a mean of accuracies


@dataclass(frozen=True)
class Spread:
    """The accuracy of one method over repeats.

    Args:
        mean: Mean over seeds; over folds the accuracy on all their images, which weights folds by their size.
        deviation: Standard deviation between repeats; None for one repeat.
        interval: Interval of the mean: Student's over seeds, None for one seed or if all are equal; Wilson's over the
            images of folds.
        worst: Lowest accuracy of a repeat.
        worst_of: Seed or fold number of that repeat.
    """

    mean: float
    deviation: float | None
    interval: Interval | None
    worst: float
    worst_of: int


@dataclass(frozen=True)
class Gain:
    """A method against a baseline on the same labels and seeds, in accuracy.

    Args:
        num_seeds: Number of seeds or folds.
        interval: Interval of the mean difference over seeds by Student's t, None if all differences are equal; of the
            difference on the images for one seed and for folds.
        test: The paired t-test over seeds; for one seed and for folds McNemar's test, which compares these models only.
        p_value: 1 if all differences are zero; None if they are equal but not zero.
        p_holm: The p-value corrected for all comparisons of a report.
        effect: Cohen's d, the mean difference over its standard deviation between seeds.
    """

    num_seeds: int
    difference: float
    interval: Interval | None
    test: Literal["paired t", "McNemar"]
    p_value: float | None
    p_holm: float | None = None
    effect: float | None = None

    @property
    def is_proven(self) -> bool:
        """Whether the difference is significant after correction."""
        return self.p_holm is not None and self.p_holm < SIGNIFICANCE


def spread_over_seeds(seeds: Sequence[int], accuracies: Sequence[float]) -> Spread:
    """The spread of one accuracy per seed."""
    return _spread(seeds, accuracies, float(np.mean(accuracies)), mean_interval(accuracies))


def spread_over_folds(right: Sequence[NDArray[np.bool_]]) -> Spread:
    """The spread over folds numbered from 1, given a mask of the correctly classified images of each."""
    pooled = np.concatenate(right)
    interval = wilson(int(pooled.sum()), len(pooled))
    return _spread(range(1, len(right) + 1), [float(fold.mean()) for fold in right], float(pooled.mean()), interval)


def _spread(numbers: Sequence[int], accuracies: Sequence[float], mean: float, interval: Interval | None) -> Spread:
    worst = int(np.argmin(accuracies))
    deviation = float(np.std(accuracies, ddof=1)) if len(accuracies) > 1 else None
    return Spread(mean, deviation, interval, float(accuracies[worst]), numbers[worst])


def mean_interval(accuracies: ArrayLike, *, level: float = 0.95) -> Interval | None:
    """Student's interval of the mean, clipped to [0, 1]; None for one seed, and if all accuracies are equal."""
    values = np.asarray(accuracies, dtype=float)
    if len(values) < 2 or _are_equal(values):
        return None
    mean, half = _student(values, level)
    return Interval(max(0.0, mean - half), min(1.0, mean + half), level)


def gain_over_seeds(
    baseline: ArrayLike, method: ArrayLike, paired: Paired | None = None, *, level: float = 0.95
) -> Gain:
    """The mean paired difference over seeds with its t-test.

    Args:
        baseline: Accuracy of the baseline, one per seed.
        method: Accuracy of the method, one per seed.
        paired: Comparison on the images of the only seed; its test replaces the t-test.

    Raises:
        DataError: There is one seed without `paired`, or the numbers of accuracies differ.
    """
    from scipy.stats import t

    first, second = np.asarray(baseline, dtype=float), np.asarray(method, dtype=float)
    if first.ndim != 1 or first.shape != second.shape or len(first) < (2 if paired is None else 1):
        raise DataError(
            f"accuracies of shape {first.shape} and {second.shape} cannot be paired over seeds; "
            "give one accuracy per seed for both, and at least two seeds"
        )
    differences = second - first
    mean, num_seeds = float(differences.mean()), len(differences)
    if num_seeds == 1:
        assert paired is not None
        return replace(gain_of_images(paired), difference=mean)
    if _are_equal(differences):
        return Gain(num_seeds, mean, None, "paired t", 1.0 if abs(mean) < _ROUNDING else None)
    _, half = _student(differences, level)
    deviation = differences.std(ddof=1)
    p_value = float(2 * t.sf(abs(mean) / float(deviation / np.sqrt(num_seeds)), num_seeds - 1))
    interval = Interval(mean - half, mean + half, level)
    return Gain(num_seeds, mean, interval, "paired t", p_value, effect=float(mean / deviation))


def gain_of_images(paired: Paired, num_parts: int = 1) -> Gain:
    """The difference on the images of one seed, or of all folds together, with McNemar's test."""
    return Gain(num_parts, paired.difference, paired.interval, "McNemar", paired.p_value)


def corrected(gains: Sequence[Gain | None]) -> list[Gain | None]:
    """The gains with p-values adjusted by Holm's method, as one family."""
    adjusted = iter(holm([gain.p_value for gain in gains if gain is not None and gain.p_value is not None]))
    return [gain and replace(gain, p_holm=None if gain.p_value is None else next(adjusted)) for gain in gains]


def _student(values: NDArray[np.float64], level: float) -> tuple[float, float]:
    """The mean and the half-width of its Student's interval."""
    from scipy.stats import t

    error = float(values.std(ddof=1) / np.sqrt(len(values)))
    return float(values.mean()), float(t.ppf((1 + level) / 2, len(values) - 1)) * error


def _are_equal(values: NDArray[np.float64]) -> bool:
    """Whether the values are equal up to rounding, so that there is no t statistic."""
    return bool(np.ptp(values) < _ROUNDING)


def gain_sentence(name: str, gain: Gain, num_tests: int = 1) -> str:
    """The gain with its interval, test and effect size.

    Args:
        name: The two methods, such as "fixmatch against supervised".
        num_tests: Number of tests that the p-value is corrected for.
    """
    change = "no difference" if abs(gain.difference) < _ROUNDING else f"{signed_points(gain.difference)} points"
    if gain.test == "paired t" and gain.interval is None:
        return f"{name}: {change} with each of {counted(gain.num_seeds, 'seed')}, so there is no test."
    p_value = gain.p_value if gain.p_holm is None else gain.p_holm
    assert p_value is not None
    test = "McNemar's test" if gain.test == "McNemar" else f"paired t-test over {counted(gain.num_seeds, 'seed')}"
    details = [] if gain.interval is None else [f"95 % interval {interval_words(gain.interval)}"]
    details.append(f"{test}, {p_equals(p_value)}{f' corrected for {num_tests} tests' if num_tests > 1 else ''}")
    details += [] if gain.effect is None else [f"Cohen's d {gain.effect:.1f}"]
    proven = "" if gain.p_holm is None else ", proven" if gain.is_proven else ", not proven"
    return f"{name}: {change} ({'; '.join(details)}){proven}."


def few_seeds_sentence(num_seeds: int) -> str:
    """A caution about conclusions from this few seeds."""
    if num_seeds == 1:
        return (
            "One seed shows no spread between seeds: there is no interval over seeds, and a test on its images "
            "compares these models only. Another seed may reverse the result; use more seeds."
        )
    return (
        f"With {num_seeds} seeds only a difference that is large compared with their spread can be proven; use more "
        "seeds."
    )


def seeds_sentence(num_test: int, *, draws_labels: bool, draws_network: bool, draws_test: bool) -> str:
    """The sources of variation between seeds, and those that intervals over seeds do not cover.

    Args:
        num_test: Test images of each seed.
        draws_labels: Whether each seed draws the labels that are kept.
        draws_network: Whether each seed draws the initial weights.
        draws_test: Whether each seed holds out other test images.
    """
    drawn = {
        "the labels drawn": draws_labels,
        "the images held out": draws_test,
        "initial weights": draws_network,
        "the order of images": True,
    }
    tested = f"all are tested on the same {num_test:,} images, so no interval covers how other images would differ"
    if draws_test:
        tested = f"each is tested on {num_test:,} images held out"
    return f"Seeds differ in {listed([what for what, is_drawn in drawn.items() if is_drawn])}; {tested}."
