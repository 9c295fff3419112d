"""Ranks and corrected p-values against hand calculation, SciPy, and simulation."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from understudy.core.errors import DataError
from understudy.evaluation.ranking import friedman, holm, ranks


def test_holm__by_hand() -> None:
    """0.005 x 4, 0.01 x 3, 0.03 x 2, then 0.04 x 1, which may not be below the one before."""
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx((0.03, 0.06, 0.06, 0.02))


def test_holm__of_none_of_one_and_of_large_ones() -> None:
    assert holm([]) == ()
    assert holm([0.04]) == pytest.approx((0.04,))
    assert holm([0.6, 0.9]) == (1.0, 1.0)


@given(st.lists(st.floats(0, 1), min_size=1, max_size=12))
def test_holm__lies_between_the_p_value_and_bonferroni(p_values: list[float]) -> None:
    adjusted = holm(p_values)
    for before, after in zip(p_values, adjusted, strict=True):
        assert before <= after <= min(1.0, before * len(p_values)) + 1e-12
    order = np.argsort(p_values, kind="stable")
    assert (np.diff(np.array(adjusted)[order]) >= 0).all()


@pytest.mark.parametrize("num_real", [0, 3])
def test_holm__keeps_its_level(num_real: int) -> None:
    """Over 4,000 studies of 8 paired t-tests, a true hypothesis is refused anywhere in at most 5 % of them."""
    random = np.random.default_rng(0)
    differences = random.normal(size=(4000, 8, 6))
    differences[:, :num_real] += 3.0
    p_values = stats.ttest_1samp(differences, 0, axis=2).pvalue
    adjusted = np.array([holm(row) for row in p_values])
    wrong = (adjusted[:, num_real:] <= 0.05).any(axis=1).mean()
    uncorrected = (p_values[:, num_real:] <= 0.05).any(axis=1).mean()
    assert wrong <= 0.05 + 3 * np.sqrt(0.05 * 0.95 / 4000)
    assert wrong > 0.02, "so cautious that nothing would ever be found"
    assert uncorrected > 0.2


def test_ranks__one_is_the_highest_and_equals_share() -> None:
    scores = np.array([[0.9, 0.8, 0.7], [0.5, 0.5, 0.6]])
    assert ranks(scores).tolist() == [[1.0, 2.0, 3.0], [2.5, 2.5, 1.0]]


def test_friedman__by_hand() -> None:
    """Ranks (1, 2, 3) in all of 4 blocks: 12 / (4 x 3 x 4) x (4² + 8² + 12²) - 3 x 4 x 4 = 8."""
    found = friedman(np.array([[3.0, 2.0, 1.0]] * 4) + np.arange(4)[:, None])
    assert found.mean_ranks == (1.0, 2.0, 3.0)
    assert found.statistic == pytest.approx(8.0)
    assert found.p_value == pytest.approx(np.exp(-4.0))
    assert found.num_blocks == 4


def test_friedman__equals_scipy_with_ties() -> None:
    scores = np.random.default_rng(1).integers(0, 4, (9, 4)).astype(float)
    expected = stats.friedmanchisquare(*scores.T)
    found = friedman(scores)
    assert (found.statistic, found.p_value) == pytest.approx((expected.statistic, expected.pvalue))


def test_friedman__nothing_but_ties() -> None:
    assert friedman(np.ones((3, 4))).p_value == 1.0


@pytest.mark.parametrize("shape", [(1, 3), (4, 2)])
def test_friedman__too_little(shape: tuple[int, int]) -> None:
    with pytest.raises(DataError, match=r"needs 2 blocks and 3 methods, got \d and \d; add seeds or methods"):
        friedman(np.zeros(shape))
