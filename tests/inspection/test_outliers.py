"""Planted outliers are found, alone or in small groups, and in clean data there are next to none."""

from __future__ import annotations

import numpy as np
import pytest

from understudy.data.load import load
from understudy.inspection import outliers
from understudy.inspection.embedding import embed
from understudy.inspection.outliers import MIN_ROWS, find_outliers


def _rows(count: int, seed: int = 0) -> np.ndarray:
    """Four clouds of equal size."""
    random = np.random.default_rng(seed)
    return (random.normal(0, 1, (count, 8)) + 6 * np.eye(8)[np.arange(count) % 4]).astype(np.float32)


@pytest.mark.parametrize("seed", range(5))
def test_find_outliers__clean_rows_give_under_one_percent(seed: int) -> None:
    assert len(find_outliers(_rows(2000, seed)).rows) <= 20


def test_find_outliers__clean_digits_give_under_one_percent() -> None:
    digits = load("digits")
    assert len(find_outliers(embed(digits, np.arange(len(digits)))).rows) <= 0.01 * len(digits)


def test_find_outliers__distant_rows_come_first() -> None:
    rows = _rows(1000)
    rows[[3, 500]] = 0
    rows[3, 7], rows[500, 6] = 60, 40
    found = find_outliers(rows)
    assert found.rows[:2].tolist() == [3, 500]
    assert found.distance[3] > found.distance[500] > found.threshold


def test_find_outliers__distance_is_that_to_the_fifth_other_row() -> None:
    rows = _rows(120)
    apart = np.sort(np.linalg.norm(rows[:, None].astype(float) - rows[None], axis=-1), axis=1)[:, 5]
    assert np.allclose(find_outliers(rows).distance, apart / np.median(apart), atol=1e-3)


def test_find_outliers__a_small_group_of_twins_is_found() -> None:
    """Each has near neighbors, all of them outliers too."""
    rows = _rows(1000)
    rows[:8] = 30 + np.random.default_rng(0).normal(0, 0.01, (8, 8))
    assert set(range(8)) <= set(find_outliers(rows).rows.tolist())


def test_find_outliers__a_group_as_large_as_a_class_is_not() -> None:
    rows = _rows(1000)
    rows[:100] += 30
    assert np.isin(find_outliers(rows).rows, np.arange(100)).sum() <= 5


def test_find_outliers__noise_among_digits() -> None:
    digits = load("digits").rows.numpy()[:800]
    noise = np.random.default_rng(0).integers(0, 256, (5, *digits.shape[1:])).astype(np.uint8)
    rows = np.concatenate([noise, digits])
    found = find_outliers(embed(load((rows, np.full(len(rows), -1))), np.arange(len(rows))))
    assert {0, 1, 2, 3, 4} <= set(found.rows.tolist())
    assert len(found.rows) < 5 + 8


def test_find_outliers__is_repeatable_beyond_the_reference(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(outliers, "_MAX_REFERENCE", 400)
    rows = _rows(1500)
    rows[77] = 50
    first, again = find_outliers(rows), find_outliers(rows)
    assert first.rows[0] == 77
    assert np.array_equal(first.distance, again.distance)


@pytest.mark.parametrize("count", [0, 1, MIN_ROWS - 1])
def test_find_outliers__too_few_rows_have_none(count: int) -> None:
    found = find_outliers(_rows(count))
    assert len(found.rows) == 0
    assert len(found.distance) == count


def test_find_outliers__equal_rows_have_none() -> None:
    assert len(find_outliers(np.ones((200, 4), np.float32)).rows) == 0
