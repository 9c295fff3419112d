"""Paired comparisons: exact where the sample decides, covering the truth where chance does."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from understudy.evaluation.paired import (
    compare_paired,
    difference_interval,
    mcnemar,
    power_of_test,
    smallest_detectable_gain,
)


def test_compare_paired__counts_the_changes() -> None:
    labels = np.array([0, 0, 1, 1, 2])
    found = compare_paired(labels, np.array([0, 1, 1, 0, 0]), np.array([1, 0, 1, 1, 2]))
    assert (found.n, found.gains, found.losses, found.difference) == (5, 3, 1, 0.4)
    assert found.p_value == mcnemar(3, 1)


@pytest.mark.parametrize(
    ("gains", "losses", "p_value"),
    [(0, 0, 1.0), (5, 0, 0.0625), (6, 0, 0.03125), (1, 1, 1.0), (0, 6, 0.03125), (10, 2, 0.0386)],
)
def test_mcnemar__known_values(gains: int, losses: int, p_value: float) -> None:
    assert mcnemar(gains, losses) == pytest.approx(p_value, abs=1e-4)


@pytest.mark.parametrize(
    ("n", "gained", "lost"),
    [(40, 0.05, 0.05), (40, 0.2, 0.05), (40, 0.3, 0.02), (100, 0.05, 0.05), (100, 0.1, 0.0), (100, 0.2, 0.05)],
)
def test_difference_interval__covers_the_truth(n: int, gained: float, lost: float) -> None:
    coverage, width = 0.0, 0.0
    for gains in range(n + 1):
        chance = stats.binom.pmf(gains, n, gained)
        if chance < 1e-4:
            continue
        chances = chance * stats.binom.pmf(np.arange(n - gains + 1), n - gains, lost / (1 - gained))
        for losses in np.flatnonzero(chances > 1e-5):
            found = difference_interval(gains, int(losses), n)
            coverage += chances[losses] * (gained - lost in found)
            width += chances[losses] * (found.high - found.low)
    assert 0.935 <= coverage <= 0.998
    assert width < 5 * np.sqrt((gained + lost) / n) + 2 / n


@pytest.mark.parametrize("n", [1, 7, 40])
def test_difference_interval__leaves_zero_out_exactly_when_mcnemar_does(n: int) -> None:
    for gains in range(n + 1):
        for losses in range(n - gains + 1):
            found = difference_interval(gains, losses, n)
            assert (0.0 not in found) == (mcnemar(gains, losses) < 0.05)
            assert (gains - losses) / n in found


@pytest.mark.parametrize("n", [1, 40, 10_000])
def test_difference_interval__without_changes_is_not_a_point(n: int) -> None:
    found = difference_interval(0, 0, n)
    assert found.low < 0 < found.high
    assert found.low == -found.high


@given(st.integers(0, 50), st.integers(0, 50), st.integers(0, 50))
def test_difference_interval__swapping_the_models_mirrors_it(gains: int, losses: int, same: int) -> None:
    n = gains + losses + same
    if n:
        found, mirrored = difference_interval(gains, losses, n), difference_interval(losses, gains, n)
        assert (found.low, found.high) == (pytest.approx(-mirrored.high), pytest.approx(-mirrored.low))


@pytest.mark.parametrize(
    ("n", "discordance", "gain"), [(5000, 0.18, 0.0169), (5000, 0.003, 0.0022), (1000, 0.1, 0.0285), (100, 0.3, 0.159)]
)
def test_smallest_detectable_gain__known_values(n: int, discordance: float, gain: float) -> None:
    assert smallest_detectable_gain(n, discordance=discordance) == pytest.approx(gain, rel=0.03)


@pytest.mark.parametrize(("n", "discordance"), [(60, 0.0), (300, 0.2), (5000, 0.18)])
def test_smallest_detectable_gain__is_found_four_times_in_five(n: int, discordance: float) -> None:
    """By simulation: images that change as often as observed, and a true gain of the size that is stated."""
    gain = smallest_detectable_gain(n, discordance=discordance)
    assert gain is not None
    gained, lost = max(gain, (discordance + gain) / 2), max(0.0, (discordance - gain) / 2)
    draws = np.random.default_rng(0).multinomial(n, [gained, lost, 1 - gained - lost], size=20_000)
    better, changed = draws[:, 0], draws[:, 0] + draws[:, 1]
    found = (stats.binom.sf(better - 1, changed, 0.5) * 2 < 0.05).mean()  # the exact test, for a gain
    assert found == pytest.approx(0.8, abs=0.012)
    assert power_of_test(n, gain, discordance=discordance) == pytest.approx(found, abs=0.012)


def test_power_of_test__a_gain_far_below_the_noise_is_hardly_found() -> None:
    assert power_of_test(5000, 0.003, discordance=0.18) == pytest.approx(0.07, abs=0.02)


def test_smallest_detectable_gain__too_few_images() -> None:
    assert smallest_detectable_gain(0, discordance=0.1) is None
    assert smallest_detectable_gain(5, discordance=0.1) is None


def test_smallest_detectable_gain__falls_with_images_and_rises_with_changes() -> None:
    gains = [smallest_detectable_gain(n, discordance=0.2) or 1.0 for n in (20, 40, 80, 200, 1000)]
    assert gains == sorted(gains, reverse=True)
    rising = [smallest_detectable_gain(400, discordance=share) or 1.0 for share in (0.0, 0.05, 0.2, 0.5)]
    assert rising == sorted(rising)
