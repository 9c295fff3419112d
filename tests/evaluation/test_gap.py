"""The share of the gap by hand, its interval by its definition, and how often it holds the truth."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from understudy.core.errors import DataError
from understudy.evaluation.gap import gap_sentence, share_of_gap

FEW, METHOD, FULL = [0.60, 0.62, 0.58, 0.64], [0.80, 0.83, 0.80, 0.81], [0.90, 0.91, 0.90, 0.92]


def test_share_of_gap__by_hand() -> None:
    found = share_of_gap(FEW, METHOD, FULL)
    assert found is not None
    share, interval = found
    assert share == pytest.approx((0.81 - 0.61) / (0.9075 - 0.61))
    assert interval is not None
    assert share in interval
    assert interval.level == 0.95


def test_share_of_gap__ends_are_the_shares_that_a_t_test_just_refuses() -> None:
    (_, interval) = share_of_gap(FEW, METHOD, FULL, level=0.9)  # type: ignore[misc]
    gained, gap = np.subtract(METHOD, FEW), np.subtract(FULL, FEW)
    for end in (interval.low, interval.high):  # type: ignore[union-attr]
        assert stats.ttest_1samp(gained - end * gap, 0).pvalue == pytest.approx(0.1)


def test_share_of_gap__one_exact_figure_of_full_supervision() -> None:
    assert share_of_gap(FEW, METHOD, 0.9) == share_of_gap(FEW, METHOD, [0.9] * 4)


def test_share_of_gap__of_one_seed_has_no_interval() -> None:
    assert share_of_gap(0.5, 0.6, 0.7) == (pytest.approx(0.5), None)
    assert share_of_gap([0.5], [0.6], [0.5]) is None


@pytest.mark.parametrize("full", [[0.60, 0.62, 0.58, 0.64], [0.5] * 4, [0.70, 0.55, 0.65, 0.66]])
def test_share_of_gap__none_without_a_gap_beyond_doubt(full: list[float]) -> None:
    assert share_of_gap(FEW, METHOD, full) is None
    assert gap_sentence(FEW, METHOD, full) == (
        "What share of the gap to full supervision is closed cannot be said: over 4 seeds it is not certain that all "
        "labels do better than few."
    )


@given(st.integers(0, 2**32 - 1), st.floats(0.1, 10), st.floats(-5, 5))
def test_share_of_gap__does_not_depend_on_scale_and_origin(seed: int, factor: float, offset: float) -> None:
    figures = np.random.default_rng(seed).normal([[0.6], [0.7], [0.9]], 0.05, (3, 5))
    one, other = share_of_gap(*figures), share_of_gap(*(factor * figures + offset))
    assert (one is None) == (other is None)
    if one is not None and other is not None:
        assert one[0] == pytest.approx(other[0])
        assert (one[1].low, one[1].high) == pytest.approx((other[1].low, other[1].high))  # type: ignore[union-attr]


@pytest.mark.parametrize("share", [0.0, 0.7, 1.1])
@pytest.mark.parametrize("num_seeds", [3, 5])
def test_share_of_gap__interval_holds_the_truth(share: float, num_seeds: int) -> None:
    """Few labels and the method share the seed's luck in what was labeled, full supervision does not."""
    rng = np.random.default_rng(0)
    luck = rng.normal(0, 0.03, (800, num_seeds))
    few = 0.6 + luck + rng.normal(0, 0.01, luck.shape)
    method = 0.6 + 0.2 * share + luck / 2 + rng.normal(0, 0.01, luck.shape)
    full = 0.8 + rng.normal(0, 0.005, luck.shape)
    found = [share_of_gap(*figures) for figures in zip(few, method, full, strict=True)]
    hits = [share in one[1] for one in found if one is not None and one[1] is not None]
    assert len(hits) > 750
    assert np.mean(hits) == pytest.approx(0.95, abs=3 * np.sqrt(0.95 * 0.05 / 800))


def test_share_of_gap__rarely_speaks_where_there_is_no_gap() -> None:
    rng = np.random.default_rng(1)
    figures = rng.normal(0.6, 0.03, (1000, 3, 5))
    spoken = np.mean([share_of_gap(*one) is not None for one in figures])
    assert spoken == pytest.approx(0.025, abs=3 * np.sqrt(0.025 * 0.975 / 1000))


def test_gap_sentence__words() -> None:
    assert gap_sentence(FEW, METHOD, FULL, name="FixMatch") == (
        "FixMatch closes 67 % of the gap between training on the labels alone and on all images with their labels "
        "(95 % interval 59 to 74, 4 seeds)."
    )
    assert gap_sentence(0.5, 0.6, 0.7).endswith(
        "closes 50 % of the gap between training on the labels alone and on all images with their labels (1 seed)."
    )


@pytest.mark.parametrize(
    ("few", "method", "full"), [([], [], []), ([0.5], [0.5, 0.6], 0.9), ([0.5] * 3, [0.6] * 3, [0.9] * 2)]
)
def test_share_of_gap__needs_a_figure_of_each_per_seed(few: list[float], method: list[float], full: object) -> None:
    with pytest.raises(DataError, match="do not belong together; give one per seed for few labels and for the method"):
        share_of_gap(few, method, full)  # type: ignore[arg-type]
