"""Calibration by hand, against scikit-learn, and on images whose probabilities are known to come true."""

from __future__ import annotations

import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn import metrics as reference

from understudy.core.errors import DataError
from understudy.evaluation.calibration import calibrate, fit_temperature, scaled


def outcomes(n: int, seed: int = 0, k: int = 10) -> tuple[np.ndarray, np.ndarray]:
    """Probabilities of random logits, and labels that are drawn from them: a classifier that is calibrated."""
    rng = np.random.default_rng(seed)
    odds = np.exp(2.2 * rng.normal(size=(n, k)))
    probabilities = odds / odds.sum(1, keepdims=True)
    labels = (probabilities.cumsum(1) > rng.random((n, 1))).argmax(1)
    return labels, probabilities


def test_calibrate__by_hand() -> None:
    """Four images in two bins: (0.5, 1] holds 0.9 right, 0.6 wrong and 0.7 right; (0, 0.5] holds 0.4 wrong."""
    labels = np.array([0, 1, 2, 0])
    probabilities = np.array([[0.9, 0.1, 0.0], [0.6, 0.3, 0.1], [0.1, 0.2, 0.7], [0.3, 0.4, 0.3]])
    found = calibrate(labels, probabilities, num_bins=2)
    low, high = found.bins
    assert (low.low, low.high, low.n, low.confidence, low.accuracy) == (0.0, 0.5, 1, 0.4, 0.0)
    assert (high.low, high.high, high.n) == (0.5, 1.0, 3)
    assert (high.confidence, high.accuracy) == (pytest.approx(2.2 / 3), pytest.approx(2 / 3))
    assert found.n == 4
    assert found.ece == pytest.approx((0.4 + 3 * (2.2 - 2) / 3) / 4)
    assert found.brier == pytest.approx((0.02 + (0.36 + 0.49 + 0.01) + (0.01 + 0.04 + 0.09) + (0.49 + 0.16 + 0.09)) / 4)
    assert found.nll == pytest.approx(-np.log([0.9, 0.3, 0.7, 0.3]).mean())
    assert (found.temperature, found.num_fitted, found.scaled_ece) == (None, None, None)


def test_calibrate__agrees_with_scikit_learn() -> None:
    labels, probabilities = outcomes(500)
    found = calibrate(labels, probabilities)
    assert found.nll == pytest.approx(reference.log_loss(labels, probabilities, labels=np.arange(10)))
    assert found.brier == pytest.approx(
        np.mean([np.square(row - np.eye(10)[label]).sum() for row, label in zip(probabilities, labels, strict=True)])
    )


def test_calibrate__bins_are_open_below_and_closed_above() -> None:
    found = calibrate(np.array([0, 0, 0]), np.array([[0.5, 0.5], [0.75, 0.25], [1.0, 0.0]]), num_bins=4)
    assert [one.n for one in found.bins] == [0, 1, 1, 1]
    assert (found.bins[0].confidence, found.bins[0].accuracy) == (None, None)


def test_calibrate__json_is_what_the_report_reads() -> None:
    labels, probabilities = outcomes(300)
    record = calibrate(labels, probabilities, fit_labels=labels, fit_probabilities=probabilities).to_json()
    assert set(record) == {"n", "ece", "brier", "nll", "bins", "temperature", "num_fitted", "scaled_ece"}
    assert len(record["bins"]) == 15
    assert all(set(one) == {"low", "high", "n", "confidence", "accuracy"} for one in record["bins"])
    assert sum(one["n"] for one in record["bins"]) == record["n"] == 300
    assert json.loads(json.dumps(record, allow_nan=False)) == record


@pytest.mark.parametrize("temperature", [0.5, 1.0, 2.0])
def test_calibrate__temperature_undoes_the_one_that_was_put_in(temperature: float) -> None:
    """Probabilities that come true, spoiled by a temperature: the fit finds its inverse, and most of the error goes."""
    labels, truth = outcomes(6000)
    spoiled = scaled(truth, 1 / temperature)
    found = calibrate(labels[:4000], spoiled[:4000], fit_labels=labels[4000:], fit_probabilities=spoiled[4000:])
    assert found.temperature == pytest.approx(temperature, rel=0.08)
    assert found.num_fitted == 2000
    assert found.scaled_ece is not None
    assert found.scaled_ece < 0.03
    assert temperature == 1.0 or found.ece > 3 * found.scaled_ece


def test_calibrate__temperature_uses_no_test_image() -> None:
    fit, (labels, probabilities) = outcomes(200, seed=1), outcomes(400, seed=2)
    one = calibrate(labels, probabilities, fit_labels=fit[0], fit_probabilities=fit[1])
    other = calibrate((labels + 1) % 10, probabilities, fit_labels=fit[0], fit_probabilities=fit[1])
    assert one.temperature == other.temperature == fit_temperature(*fit)
    assert one.scaled_ece != other.scaled_ece


def test_calibrate__too_few_images_to_fit() -> None:
    labels, probabilities = outcomes(100)
    for few, fitted in ((0, None), (29, None), (30, 30)):
        found = calibrate(labels, probabilities, fit_labels=labels[:few], fit_probabilities=probabilities[:few])
        assert found.num_fitted == fitted
        assert (found.temperature is None) == (found.scaled_ece is None) == (fitted is None)


def test_fit_temperature__is_where_the_likelihood_is_largest() -> None:
    labels, probabilities = outcomes(200, seed=3)
    best = fit_temperature(labels, probabilities)
    assert best is not None

    def nll(temperature: float) -> float:
        return calibrate(labels, scaled(probabilities, temperature)).nll

    assert nll(best) <= min(nll(0.99 * best), nll(1.01 * best))
    grid = np.geomspace(0.2, 5, 400)
    assert best == pytest.approx(grid[np.argmin([nll(one) for one in grid])], rel=0.01)


def test_fit_temperature__no_optimum_when_all_are_right_or_none_is_likely() -> None:
    probabilities = np.tile([[0.7, 0.2, 0.1]], (50, 1))
    assert fit_temperature(np.zeros(50, int), probabilities) is None
    assert fit_temperature(np.full(50, 2), probabilities) is None


@given(st.lists(st.floats(0, 1), min_size=2, max_size=5), st.floats(0.1, 10))
def test_scaled__keeps_the_order_and_sums_to_one(weights: list[float], temperature: float) -> None:
    row = np.array(weights) + 1e-6
    row /= row.sum()
    found = scaled(row[None], temperature)[0]
    assert found.sum() == pytest.approx(1)
    assert (np.diff(found[np.argsort(row)]) >= -1e-12).all()
    assert scaled(row[None], 1.0)[0] == pytest.approx(row)


def test_scaled__by_hand() -> None:
    assert scaled(np.array([[0.8, 0.2]]), 2.0)[0] == pytest.approx([2 / 3, 1 / 3])
    assert scaled(np.array([[1.0, 0.0]], np.float32), 1.0)[0] == pytest.approx([1.0, 0.0])


@given(st.integers(0, 2**32 - 1), st.integers(1, 40), st.integers(2, 6), st.integers(1, 20))
def test_calibrate__figures_stay_in_range(seed: int, n: int, k: int, num_bins: int) -> None:
    found = calibrate(*outcomes(n, seed, k), num_bins=num_bins)
    assert 0 <= found.ece <= 1
    assert 0 <= found.brier <= 2
    assert found.nll >= 0
    assert sum(one.n for one in found.bins) == n
    for one in found.bins:
        assert one.confidence is None or one.low - 1e-9 <= one.confidence <= one.high + 1e-9


@pytest.mark.parametrize(
    ("labels", "probabilities", "sentence"),
    [
        ([], np.zeros((0, 2)), "there is no labeled image"),
        ([0, 1], [0.5, 0.5], r"labels of shape \(2,\) and probabilities of shape \(2,\) do not belong together"),
        ([0], [[0.5, 0.5]] * 2, r"labels of shape \(1,\) and probabilities of shape \(2, 2\) do not belong together"),
        ([0, 2], [[0.5, 0.5]] * 2, "label 2 is not a class number from 0 to 1"),
        (
            [0, 1],
            [[0.5, 0.5], [3.0, -1.0]],
            "1 of 2 rows are not probabilities, the first, row 1, with the sum 2; give",
        ),
        (
            [0, 1],
            [[1.5, -0.5], [0.5, 0.5]],
            "1 of 2 rows are not probabilities, the first, row 0, with the sum 1; give",
        ),
        ([0, 1], [[0.5, 0.5], [float("nan"), 0.5]], "1 of 2 images are not finite, the first in row 1"),
    ],
)
def test_calibrate__bad_input_is_a_sentence(labels: list[int], probabilities: object, sentence: str) -> None:
    with pytest.raises(DataError, match=sentence):
        calibrate(np.array(labels, dtype=int), np.array(probabilities))


def test_calibrate__images_to_fit_on_of_another_model() -> None:
    (labels, probabilities), fit = outcomes(50), outcomes(50, k=4)
    with pytest.raises(DataError, match="the images to fit on have 4 classes and the test images 10"):
        calibrate(labels, probabilities, fit_labels=fit[0], fit_probabilities=fit[1])
