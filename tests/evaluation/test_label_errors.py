"""Doubted labels: all that were planted, few others, none among clean images, in the order of the evidence."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from understudy.core.errors import DataError
from understudy.evaluation.label_errors import SuspectLabel, find_label_errors

CLEANLAB = [77, 98, 14, 21, 35, 112, 105, 28, 7, 63, 46, 49, 92, 56, 3, 42, 0, 70, 96]


def images(n: int, k: int = 5, sharpness: float = 4.0, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """True classes, and probabilities of a model that is the surer of them the sharper it is."""
    rng = np.random.default_rng(seed)
    labels = np.arange(n) % k
    odds = np.exp(rng.normal(size=(n, k)) + sharpness * np.eye(k)[labels])
    return labels, odds / odds.sum(1, keepdims=True)


def test_suspects__by_hand() -> None:
    """The thresholds are 0.55 and 0.675: rows 2, 6 and 7 reach the other class's, row 2 by the widest margin."""
    first = np.array([0.9, 0.9, 0.1, 0.3, 0.1, 0.3, 0.3, 0.6])
    labels = np.array([0, 0, 0, 1, 1, 1, 0, 1])
    probabilities = np.stack([first, 1 - first], 1)
    assert find_label_errors(labels, probabilities) == (
        SuspectLabel(2, 0, 1, pytest.approx(0.9), pytest.approx(0.1)),
        SuspectLabel(6, 0, 1, pytest.approx(0.7), pytest.approx(0.3)),
        SuspectLabel(7, 1, 0, pytest.approx(0.6), pytest.approx(0.4)),
    )


def test_suspects__more_probable_than_the_given_class_is_not_enough() -> None:
    """Row 3 is of class 0 with 0.6, but images labeled so have 0.9 on average."""
    labels, first = np.array([0, 0, 0, 1, 1]), np.array([0.9, 0.9, 0.9, 0.6, 0.1])
    assert find_label_errors(labels, np.stack([first, 1 - first], 1)) == ()


def test_suspects__are_those_of_cleanlab() -> None:
    """The rows and their order are those of cleanlab 2.9's `find_label_issues` by confident learning and margin."""
    truth, probabilities = images(120, k=4, sharpness=2.0, seed=5)
    labels = np.where(np.arange(120) % 7 == 0, 3 - truth, truth)
    assert [one.row for one in find_label_errors(labels, probabilities)] == CLEANLAB


@pytest.mark.parametrize(
    ("noise", "least_recall", "least_precision"), [(0.02, 0.5, 0.5), (0.1, 0.6, 0.8), (0.3, 0.75, 0.88)]
)
def test_suspects__find_planted_noise(noise: float, least_recall: float, least_precision: float) -> None:
    """The less noise, the higher the thresholds, which wrong labels with a less sure prediction do not reach."""
    truth, probabilities = images(2000, sharpness=2.5)
    rng = np.random.default_rng(1)
    wrong = rng.random(2000) < noise
    labels = np.where(wrong, (truth + rng.integers(1, 5, 2000)) % 5, truth)
    found = find_label_errors(labels, probabilities)
    rows = np.array([one.row for one in found])
    assert wrong[rows].sum() / wrong.sum() > least_recall
    assert wrong[rows].mean() > least_precision
    assert wrong[rows[: len(rows) // 2]].mean() > wrong[rows].mean() + 0.08, "the most suspicious first"
    right = [one.suggested == truth[one.row] for one in found if wrong[one.row]]
    assert np.mean(right) > 0.95


def test_suspects__none_among_clean_and_separate_classes() -> None:
    assert find_label_errors(*images(500, sharpness=12.0)) == ()


def test_suspects__one_wrong_label_among_clean_ones() -> None:
    labels, probabilities = images(500, sharpness=12.0)
    labels[17] = 0
    (only,) = find_label_errors(labels, probabilities)
    assert (only.row, only.given, only.suggested) == (17, 0, 2)
    assert only.confidence == probabilities[17, 2]
    assert only.given_confidence == probabilities[17, 0]


def test_suspects__class_without_a_label_is_never_suggested() -> None:
    truth, probabilities = images(500)
    labels = np.where(truth == 4, 0, truth)
    assert {one.suggested for one in find_label_errors(labels, probabilities)} <= {0, 1, 2, 3}
    assert 4 in {
        one.suggested for one in find_label_errors(np.where(np.arange(500) < 490, labels, truth), probabilities)
    }


def test_suspects__of_one_class_only() -> None:
    assert find_label_errors(np.zeros(20, int), np.ones((20, 1))) == ()
    assert find_label_errors(np.zeros(20, int), images(20)[1]) == ()


@given(st.integers(0, 2**32 - 1), st.integers(1, 40), st.integers(1, 5))
def test_suspects__sorted_and_never_less_probable_than_the_given_class(seed: int, n: int, k: int) -> None:
    rng = np.random.default_rng(seed)
    labels, probabilities = rng.integers(0, k, n), rng.dirichlet(np.ones(k), n)
    found = find_label_errors(labels, probabilities)
    margins = [one.confidence - one.given_confidence for one in found]
    assert margins == sorted(margins, reverse=True)
    for one in found:
        assert one.suggested != one.given == labels[one.row]
        assert one.confidence > one.given_confidence


def test_suspects__row_of_no_probabilities() -> None:
    with pytest.raises(DataError, match="rows are not probabilities"):
        find_label_errors(np.array([0, 1]), np.array([[3.0, -1.0], [0.5, 0.5]]))
