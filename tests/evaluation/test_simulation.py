"""Repeated studies with a known truth: intervals hold it as often as they promise, tests cry wolf no more often."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from understudy.evaluation.intervals import Interval, accuracy_interval, balanced_accuracy_interval
from understudy.evaluation.paired import compare_paired, mcnemar
from understudy.evaluation.ranking import friedman, holm
from understudy.evaluation.seeds import gain_over_seeds, mean_interval


def within(share: float, expected: float, n: int) -> bool:
    """Whether a share of n repetitions is what is expected, but for chance in one case of 370."""
    return abs(share - expected) <= 3 * np.sqrt(expected * (1 - expected) / n)


def at_most(share: float, expected: float, n: int) -> bool:
    return share <= expected + 3 * np.sqrt(expected * (1 - expected) / n)


@pytest.mark.parametrize("level", [0.8, 0.95])
@pytest.mark.parametrize(("n", "accuracy"), [(100, 0.7), (400, 0.9), (1000, 0.97)])
def test_accuracy_interval__bootstrap_covers(n: int, accuracy: float, level: float) -> None:
    """Counts are few, so that the interval of each is made once and weighted by its chance."""
    chances = stats.binom.pmf(np.arange(n + 1), n, accuracy)
    coverage = 0.0
    for right in np.flatnonzero(chances > 1e-5):
        predictions = (np.arange(n) >= right).astype(int)
        found = accuracy_interval(np.zeros(n, int), predictions, method="bootstrap", level=level, seed=int(right))
        coverage += chances[right] * (accuracy in found)
    assert coverage == pytest.approx(level, abs=0.035)


def test_balanced_accuracy_interval__covers_at_other_levels() -> None:
    rng = np.random.default_rng(0)
    recalls, counts = np.array([0.95, 0.85, 0.7, 0.9]), [60, 30, 15, 100]
    labels = np.repeat(np.arange(4), counts)
    hits = 0
    for seed in range(500):
        predictions = np.where(rng.random(len(labels)) < recalls[labels], labels, -1)
        interval = balanced_accuracy_interval(labels, predictions, level=0.8, seed=seed, num_resamples=400)
        hits += recalls.mean() in interval
    assert hits / 500 == pytest.approx(0.8, abs=0.06)


@pytest.mark.parametrize(
    ("n", "first", "second", "shared"), [(200, 0.85, 0.85, 0.7), (200, 0.8, 0.9, 0.75), (1000, 0.9, 0.92, 0.85)]
)
def test_compare_paired__interval_covers(n: int, first: float, second: float, shared: float) -> None:
    """Two models on the same images, from their predictions; both right on a share of the images."""
    rng = np.random.default_rng(0)
    chances = [shared, first - shared, second - shared, 1 - first - second + shared]
    hits = 0
    for _ in range(700):
        kind = rng.choice(4, n, p=chances)
        found = compare_paired(np.ones(n, int), (kind == 0) | (kind == 1), (kind == 0) | (kind == 2))  # type: ignore[arg-type]
        hits += second - first in found.interval
    assert 0.925 <= hits / 700 <= 0.985


@pytest.mark.parametrize("level", [0.8, 0.95])
@pytest.mark.parametrize("num_seeds", [2, 3, 10])
def test_mean_interval__covers_over_seeds(num_seeds: int, level: float) -> None:
    draws = np.random.default_rng(0).normal(0.9, 0.02, (2000, num_seeds))
    hits = [0.9 in (mean_interval(row, level=level) or Interval(0, 0)) for row in draws]
    assert within(float(np.mean(hits)), level, 2000)


def test_gain_over_seeds__interval_covers() -> None:
    rng = np.random.default_rng(0)
    luck = rng.normal(0.8, 0.05, (2000, 5))
    first, second = (luck + gain + rng.normal(0, 0.01, luck.shape) for gain in (0, 0.02))
    hits = [0.02 in (gain_over_seeds(*pair).interval or Interval(0, 0)) for pair in zip(first, second, strict=True)]
    assert within(float(np.mean(hits)), 0.95, 2000)


def test_mcnemar__keeps_its_level_for_every_number_of_changes() -> None:
    """All outcomes, each with its chance. The exact test is cautious, but no more so than counts make it."""
    sizes = []
    for changed in range(1, 50):
        chances = stats.binom.pmf(np.arange(changed + 1), changed, 0.5)
        p_values = np.array([mcnemar(gains, changed - gains) for gains in range(changed + 1)])
        sizes.append([chances[p_values <= alpha].sum() for alpha in (0.01, 0.05)])
    assert np.max(sizes, 0)[0] <= 0.01
    assert np.max(sizes, 0)[1] <= 0.05
    assert (np.min(sizes[30:], 0) > [0.003, 0.015]).all()


@pytest.mark.parametrize("num_real", [0, 2])
def test_holm__of_tests_over_seeds_keeps_its_level(num_real: int) -> None:
    """Four methods against one baseline, whose luck all four comparisons share."""
    rng = np.random.default_rng(0)
    baseline = rng.normal(0.8, 0.02, (600, 5))
    wrong = uncorrected = 0
    for row in baseline:
        methods = rng.normal(0.8, 0.02, (4, 5))
        methods[:num_real] += 0.2
        p_values = [gain_over_seeds(row, method).p_value or 0.0 for method in methods]
        wrong += min(holm(p_values)[num_real:]) <= 0.05
        uncorrected += min(p_values[num_real:]) <= 0.05
    assert at_most(wrong / 600, 0.05, 600)
    assert wrong >= 6, "so cautious that nothing would ever be found"
    assert uncorrected > 1.5 * wrong


@pytest.mark.parametrize(("blocks", "methods", "least"), [(3, 3, 0.01), (5, 4, 0.02), (20, 6, 0.03)])
def test_friedman__keeps_its_level(blocks: int, methods: int, least: float) -> None:
    """Blocks differ as data sets do, methods do not. With few blocks the chi-square distribution is cautious."""
    rng = np.random.default_rng(0)
    scores = rng.normal(size=(1200, blocks, methods)) + 5 * rng.normal(size=(1200, blocks, 1))
    refused = float(np.mean([friedman(one).p_value <= 0.05 for one in scores]))
    assert at_most(refused, 0.05, 1200)
    assert refused > least


def test_friedman__finds_a_method_that_is_better() -> None:
    rng = np.random.default_rng(0)
    scores = rng.normal(size=(300, 8, 4)) + np.array([2.5, 0, 0, 0])
    assert np.mean([friedman(one).p_value <= 0.05 for one in scores]) > 0.8


def test_paired_statistics__equal_statsmodels() -> None:
    """The figures are those of statsmodels 0.15: exact McNemar, Holm, and the t-test of the differences."""
    expected = {(7, 2): 0.1796875, (15, 4): 0.0192108154296875, (30, 21): 0.2624375357110438, (0, 3): 0.25}
    for (gains, losses), p_value in expected.items():
        assert mcnemar(gains, losses) == pytest.approx(p_value, rel=1e-12)
    assert holm([0.011, 0.2, 0.049, 0.0031, 0.04, 0.011]) == pytest.approx((0.055, 0.2, 0.12, 0.0186, 0.12, 0.055))
    found = gain_over_seeds([0.80, 0.82, 0.79, 0.85, 0.81], [0.84, 0.83, 0.85, 0.86, 0.83])
    assert found.p_value == pytest.approx(0.04465344976883761)
    assert found.interval is not None
    assert (found.interval.low, found.interval.high) == pytest.approx((0.0010813659766209828, 0.05491863402337893))
