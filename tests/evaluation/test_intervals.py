"""Intervals hold the truth about as often as they promise, also where every or no prediction is right."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from understudy.evaluation.intervals import Interval, accuracy_interval, balanced_accuracy_interval, wilson


def _predictions(num_right: int, n: int) -> tuple[np.ndarray, np.ndarray]:
    return np.zeros(n, dtype=int), (np.arange(n) >= num_right).astype(int)


def test_wilson__known_value() -> None:
    found = wilson(81, 263)
    assert (found.low, found.high) == (pytest.approx(0.2553, abs=1e-4), pytest.approx(0.3662, abs=1e-4))


@pytest.mark.parametrize("n", [40, 100, 400])
@pytest.mark.parametrize("accuracy", [0.7, 0.9, 0.97])
def test_accuracy_interval__covers_the_truth(n: int, accuracy: float) -> None:
    chances = stats.binom.pmf(np.arange(n + 1), n, accuracy)
    likely = np.flatnonzero(chances > 1e-6)
    coverage = sum(chances[k] for k in likely if accuracy in accuracy_interval(*_predictions(int(k), n)))
    assert 0.935 <= coverage <= 0.975


@pytest.mark.parametrize("method", ["wilson", "bootstrap"])
@pytest.mark.parametrize(("num_right", "n"), [(0, 1), (1, 1), (0, 40), (40, 40)])
def test_accuracy_interval__all_or_none_right(method: str, num_right: int, n: int) -> None:
    found = accuracy_interval(*_predictions(num_right, n), method=method)  # type: ignore[arg-type]
    assert num_right / n in found
    assert 0 <= found.low < found.high <= 1
    assert found == Interval(pytest.approx(wilson(num_right, n).low), pytest.approx(wilson(num_right, n).high))


def test_accuracy_interval__bootstrap_is_near_the_binomial_and_repeats() -> None:
    pair = _predictions(850, 1000)
    found = accuracy_interval(*pair, method="bootstrap", seed=3)
    low, high = stats.binom.ppf([0.025, 0.975], 1000, 0.85) / 1000
    assert (found.low, found.high) == (pytest.approx(low, abs=0.003), pytest.approx(high, abs=0.003))
    assert found == accuracy_interval(*pair, method="bootstrap", seed=3)
    assert found != accuracy_interval(*pair, method="bootstrap", seed=4)


def test_accuracy_interval__higher_level_is_wider() -> None:
    pair = _predictions(30, 40)
    narrow, wide = (accuracy_interval(*pair, level=level) for level in (0.8, 0.99))
    assert wide.low < narrow.low < narrow.high < wide.high


@pytest.mark.parametrize(
    ("counts", "recall", "least"),
    [([4] * 10, 0.9, 0.88), ([40] * 10, 0.9, 0.92), ([2, 3, 4, 5, 10, 20, 40, 40, 80, 80], 0.9, 0.87)],
)
def test_balanced_accuracy_interval__covers_the_truth(counts: list[int], recall: float, least: float) -> None:
    rng = np.random.default_rng(0)
    recalls = np.clip(recall + np.linspace(0.05, -0.05, len(counts)), 0, 1)
    labels = np.repeat(np.arange(len(counts)), counts)
    truth = float(recalls.mean())
    hits = 0
    for seed in range(300):
        predictions = np.where(rng.random(len(labels)) < recalls[labels], labels, -1)
        hits += truth in balanced_accuracy_interval(labels, predictions, seed=seed, num_resamples=500)
    assert least <= hits / 300 <= 0.995


def test_balanced_accuracy_interval__rare_class_weighs_like_a_frequent_one() -> None:
    labels = np.array([0] * 96 + [1] * 4)
    predictions = np.array([0] * 96 + [1, 1, 0, 0])
    found = balanced_accuracy_interval(labels, predictions)
    assert 0.75 in found
    assert found.low < 0.6
    assert accuracy_interval(labels, predictions).low > 0.9


@pytest.mark.parametrize("right", [True, False])
def test_balanced_accuracy_interval__all_or_none_right(right: bool) -> None:
    labels = np.arange(50) % 5
    found = balanced_accuracy_interval(labels, labels if right else labels + 1)
    assert float(right) in found
    assert found.high - found.low == pytest.approx(1.96**2 / (50 + 1.96**2), abs=1e-3)
