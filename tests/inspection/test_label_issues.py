"""Planted label errors are found, clean labels hardly suspected, and a model that learned nothing is not reliable."""

from __future__ import annotations

import numpy as np
import pytest

from understudy.core.errors import DataError
from understudy.data.load import load
from understudy.inspection.embedding import embed
from understudy.inspection.label_issues import find_label_issues


@pytest.fixture(scope="module")
def digits() -> tuple[np.ndarray, np.ndarray]:
    collection = load("digits")
    return embed(collection, np.arange(1000)), collection.labels[:1000].copy()


def test_find_label_issues__planted_errors(digits: tuple[np.ndarray, np.ndarray]) -> None:
    features, labels = digits
    wrong = np.random.default_rng(0).permutation(1000)[:30]
    given = labels.copy()
    given[wrong] = (labels[wrong] + 1) % 10
    found = find_label_issues(features, given, 10)
    rows = [one.row for one in found.suspects]
    assert np.isin(wrong, rows).mean() > 0.7
    assert np.isin(rows, wrong).mean() > 0.8
    assert all(one.given == given[one.row] for one in found.suspects)
    assert np.mean([one.suggested == labels[one.row] for one in found.suspects if one.row in wrong]) > 0.9
    assert found.is_reliable
    assert found.num_checked == 1000
    assert 0.9 < found.out_of_fold_accuracy < 0.98


def test_find_label_issues__clean_labels_give_few(digits: tuple[np.ndarray, np.ndarray]) -> None:
    found = find_label_issues(*digits, 10)
    assert len(found.suspects) <= 10
    assert found.is_reliable


def test_find_label_issues__a_model_that_learns_nothing_is_not_reliable() -> None:
    random = np.random.default_rng(0)
    found = find_label_issues(random.normal(0, 1, (600, 10)), random.integers(0, 4, 600), 4)
    assert len(found.suspects) > 50
    assert found.planted_precision < 0.15
    assert not found.is_reliable


def test_find_label_issues__classes_with_one_or_two_labels_are_not_checked(
    digits: tuple[np.ndarray, np.ndarray],
) -> None:
    features, labels = digits
    kept = np.concatenate(
        [np.flatnonzero(labels < 8), np.flatnonzero(labels == 8)[:1], np.flatnonzero(labels == 9)[:2]]
    )
    found = find_label_issues(features[kept], labels[kept], 10)
    assert found.num_checked == len(kept) - 3
    assert not {one.row for one in found.suspects} & {len(kept) - 3, len(kept) - 2, len(kept) - 1}


@pytest.mark.parametrize("labels", [[], [0], [0, 1], [0, 0, 1, 1], [0, 0, 0, 0]])
def test_find_label_issues__too_few_labels(labels: list[int]) -> None:
    found = find_label_issues(np.zeros((len(labels), 3), np.float32), np.array(labels, np.int64), 2)
    assert found.suspects == ()
    assert found.num_checked == 0
    assert not found.is_reliable


def test_find_label_issues__is_repeatable(digits: tuple[np.ndarray, np.ndarray]) -> None:
    features, labels = digits
    noisy = np.where(np.arange(1000) % 25 == 0, (labels + 3) % 10, labels)
    first, again = find_label_issues(features, noisy, 10, seed=3), find_label_issues(features, noisy, 10, seed=3)
    assert first.suspects == again.suspects
    assert first.planted_precision == again.planted_precision


def test_find_label_issues__refuses_what_does_not_fit() -> None:
    with pytest.raises(DataError, match="3 labels were given for 2 rows of features; give one per row"):
        find_label_issues(np.zeros((2, 3)), np.array([0, 1, 0]), 2)
    with pytest.raises(DataError, match="labels go from 0 to 2; they must go from 0 to 1"):
        find_label_issues(np.zeros((3, 3)), np.array([0, 1, 2]), 2)
