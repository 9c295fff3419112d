"""Statistics over seeds and folds against SciPy and numbers worked out by hand, and the sentences made of them."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from scipy import stats

from understudy.core.errors import DataError
from understudy.evaluation.intervals import Interval
from understudy.evaluation.paired import compare_paired
from understudy.evaluation.seeds import (
    Gain,
    corrected,
    few_seeds_sentence,
    gain_of_images,
    gain_over_seeds,
    gain_sentence,
    mean_interval,
    seeds_sentence,
    spread_over_folds,
    spread_over_seeds,
)

PROVEN = Gain(3, 0.0312, Interval(0.011, 0.0514), "paired t", 0.01, 0.02, 4.25)


def test_mean_interval__equals_scipy() -> None:
    values = [0.81, 0.85, 0.80, 0.87]
    expected = stats.t.interval(0.95, 3, np.mean(values), stats.sem(values))
    found = mean_interval(values)
    assert found is not None
    assert (found.low, found.high) == pytest.approx(expected)


@pytest.mark.parametrize("values", [[0.9], [0.5, 0.5, 0.5], [0.3, 0.1 + 0.2]])
def test_mean_interval__none_without_a_spread(values: list[float]) -> None:
    assert mean_interval(values) is None


def test_mean_interval__is_cut_to_what_an_accuracy_can_be() -> None:
    found = mean_interval([0.0, 1.0])
    assert found is not None
    assert (found.low, found.high) == (0.0, 1.0)


def test_spread_over_seeds__names_the_worst_seed() -> None:
    found = spread_over_seeds((7, 8, 9), (0.9, 0.7, 0.8))
    assert (found.mean, found.deviation) == pytest.approx((0.8, 0.1))
    assert (found.worst, found.worst_of) == (0.7, 8)


def test_spread_over_folds__weights_folds_by_their_size() -> None:
    found = spread_over_folds([np.array([True, True, True]), np.array([False])])
    assert (found.mean, found.worst, found.worst_of) == (0.75, 0.0, 2)
    assert found.interval is not None
    assert 0.75 in found.interval


def test_gain_over_seeds__equals_scipy() -> None:
    first, second = np.array([0.80, 0.82, 0.79, 0.85, 0.81]), np.array([0.84, 0.83, 0.85, 0.86, 0.83])
    found, expected = gain_over_seeds(first, second), stats.ttest_rel(second, first)
    interval = expected.confidence_interval(0.95)
    assert (found.num_seeds, found.test) == (5, "paired t")
    assert found.difference == pytest.approx(0.028)
    assert found.p_value == pytest.approx(expected.pvalue)
    assert found.interval is not None
    assert (found.interval.low, found.interval.high) == (pytest.approx(interval.low), pytest.approx(interval.high))
    assert found.effect == pytest.approx(expected.statistic / np.sqrt(5))


@pytest.mark.parametrize(("gain", "p_value"), [(0.0, 1.0), (0.1, None)])
def test_gain_over_seeds__equal_differences_have_no_test(gain: float, p_value: float | None) -> None:
    found = gain_over_seeds([0.1, 0.2], [0.1 + gain, 0.2 + gain])
    assert (found.p_value, found.interval, found.effect) == (p_value, None, None)


def test_gain_over_seeds__one_seed_is_tested_by_its_images() -> None:
    labels = np.ones(10, np.int64)
    paired = compare_paired(labels, np.array([0] * 8 + [1] * 2), labels)
    found = gain_over_seeds([0.2], [1.0], paired)
    assert (found.num_seeds, found.difference, found.test) == (1, 0.8, "McNemar")
    assert (found.p_value, found.interval) == (paired.p_value, paired.interval)
    assert gain_of_images(paired, 4).num_seeds == 4


@pytest.mark.parametrize(("first", "second"), [([0.5], [0.6]), ([0.5, 0.6], [0.6]), ([], [])])
def test_gain_over_seeds__needs_pairs(first: list[float], second: list[float]) -> None:
    with pytest.raises(DataError, match="give one accuracy per seed for both, and at least two seeds"):
        gain_over_seeds(first, second)


def test_corrected__is_one_family_of_those_that_have_a_test() -> None:
    gains = [None, replace(PROVEN, p_value=0.01), replace(PROVEN, p_value=None), replace(PROVEN, p_value=0.04)]
    found = [gain and gain.p_holm for gain in corrected(gains)]
    assert found == [None, 0.02, None, 0.04]


@pytest.mark.parametrize(
    ("gain", "sentence"),
    [
        (
            PROVEN,
            "uda: +3.1 points (95 % interval +1.1 to +5.1; paired t-test over 3 seeds, p = 0.02 corrected for 2 tests; "
            "Cohen's d 4.2), proven.",
        ),
        (
            replace(PROVEN, interval=None, test="McNemar", p_holm=0.2, effect=None),
            "uda: +3.1 points (McNemar's test, p = 0.2 corrected for 2 tests), not proven.",
        ),
        (Gain(3, -0.1, None, "paired t", None), "uda: -10.0 points with each of 3 seeds, so there is no test."),
        (Gain(3, -0.0, None, "paired t", 1.0), "uda: no difference with each of 3 seeds, so there is no test."),
    ],
)
def test_gain_sentence__says_what_is_known(gain: Gain, sentence: str) -> None:
    assert gain_sentence("uda", gain, 2) == sentence


def test_gain_sentence__of_a_single_test_says_nothing_of_correction() -> None:
    assert "p = 0.01; " in gain_sentence("uda", replace(PROVEN, p_holm=None))
    assert gain_sentence("uda", replace(PROVEN, p_holm=None)).endswith("d 4.2).")


def test_few_seeds_sentence__of_one_and_of_several() -> None:
    assert few_seeds_sentence(1).startswith("One seed shows no spread between seeds")
    assert few_seeds_sentence(3).startswith("With 3 seeds only a difference that is large compared with their spread")


def test_seeds_sentence__says_what_is_drawn() -> None:
    assert seeds_sentence(500, draws_labels=True, draws_network=True, draws_test=False) == (
        "Seeds differ in the labels drawn, initial weights and the order of images; all are tested on the same 500 "
        "images, so no interval covers how other images would differ."
    )
    assert seeds_sentence(40, draws_labels=False, draws_network=False, draws_test=True) == (
        "Seeds differ in the images held out and the order of images; each is tested on 40 images held out."
    )
