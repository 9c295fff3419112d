"""Suggested images are spread over all there is, typical, new, and where a model is unsure when there is one."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from understudy.data.collection import Collection
from understudy.data.load import load
from understudy.inspection.active_selection import candidates, select_typical, select_uncertain

NOTHING = np.zeros((0, 6), np.float32)


def _groups(sizes: list[int], spread: float = 0.1, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Rows in directions of their own, and the number of each one's direction."""
    random = np.random.default_rng(seed)
    number = np.repeat(np.arange(len(sizes)), sizes)
    rows = np.eye(6)[number] + random.normal(0, spread, (len(number), 6))
    return (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float32), number


def test_select_typical__takes_one_of_each_group_the_largest_first() -> None:
    rows, number = _groups([20, 80, 40, 60])
    selection = select_typical(rows, NOTHING, 4)
    assert number[selection.rows].tolist() == [1, 3, 2, 0]
    assert selection.cluster.tolist() == [1, 2, 3, 4]
    assert selection.size.tolist() == [80, 60, 40, 20]


def test_select_typical__takes_typical_rows() -> None:
    """Nearer to the middle of their group than most."""
    rows, number = _groups([100, 100, 100], spread=0.2)
    for row in select_typical(rows, NOTHING, 3).rows:
        own = rows[number == number[row]]
        distance = np.linalg.norm(own - own.mean(0), axis=1)
        assert np.linalg.norm(rows[row] - own.mean(0)) < np.quantile(distance, 0.3)


def test_select_typical__groups_with_labels_come_last() -> None:
    rows, number = _groups([50, 50, 50, 50])
    labeled = _groups([1, 0, 1, 0], seed=1)[0]
    selection = select_typical(rows, labeled, 2)
    assert sorted(number[selection.rows].tolist()) == [1, 3]


def test_select_typical__a_lone_odd_row_waits_for_the_second_of_larger_groups() -> None:
    random = np.random.default_rng(0)
    number = np.repeat([0, 1, 2], [50, 50, 1])
    rows = (np.repeat(4 * np.eye(3), 20, axis=1)[number] + random.normal(0, 1, (101, 60))).astype(np.float32)
    for seed in range(6):
        assert 2 not in number[select_typical(rows, np.zeros((0, 60), np.float32), 3, seed=seed).rows]


def test_select_typical__passes_over_twins_of_labeled_and_picked_rows() -> None:
    rows, _ = _groups([40, 40, 40], spread=0.3)
    twins = np.concatenate([rows, rows + 1e-4])
    selection = select_typical(twins, NOTHING, 60)
    assert len(set((selection.rows % 120).tolist())) == 60
    again = select_typical(twins, rows[:60], 30)
    assert not np.isin(again.rows % 120, np.arange(60)).any()


def test_select_typical__all_of_the_unlabeled() -> None:
    rows, _ = _groups([3, 4])
    assert sorted(select_typical(rows, NOTHING, 7).rows.tolist()) == list(range(7))


def test_select_typical__depends_on_the_seed_and_on_nothing_else() -> None:
    rows = np.random.default_rng(0).normal(0, 1, (300, 6)).astype(np.float32)
    first, again, other = (select_typical(rows, NOTHING, 20, seed=seed).rows for seed in (0, 0, 1))
    assert np.array_equal(first, again)
    assert not np.array_equal(first, other)


def test_select_uncertain__goes_where_the_model_is_unsure() -> None:
    rows, number = _groups([100, 100, 100])
    sure = np.tile([0.98, 0.01, 0.01], (300, 1)).astype(np.float32)
    sure[number == 2] = [0.4, 0.35, 0.25]
    selection = select_uncertain(rows, NOTHING, sure, 10)
    assert (number[selection.rows] == 2).mean() > 0.6
    assert number[selection.rows[0]] == 2


def test_select_uncertain__spreads_where_the_model_is_equally_unsure() -> None:
    rows, number = _groups([100, 100, 100])
    selection = select_uncertain(rows, NOTHING, np.full((300, 3), 1 / 3, np.float32), 3)
    assert sorted(number[selection.rows].tolist()) == [0, 1, 2]


def _images(rows: np.ndarray) -> Collection:
    return load((rows, np.full(len(rows), -1)))


def test_candidates__leave_out_blank_images_and_copies() -> None:
    rows = np.random.default_rng(0).integers(0, 256, (30, 3, 16, 16)).astype(np.uint8)
    rows[4], rows[9] = 0, 200
    everything = np.arange(30)
    copies = np.full(30, -1)
    copies[[3, 20, 21]], copies[[5, 6]] = 0, 1
    collection = replace(_images(rows), copies=copies)
    chosen, num_blank, num_copies = candidates(collection, everything[6:], everything[:6], 5, 0)
    assert (num_blank, num_copies) == (1, 3)
    assert set(range(6, 30)) - set(chosen.tolist()) == {6, 9, 20, 21}
    alone, _, num_copies = candidates(collection, everything, everything[:0], 5, 0)
    assert num_copies == 3
    assert {3, 5} <= set(alone.tolist())


def test_candidates__of_many_unlabeled_are_a_random_part() -> None:
    rows = np.zeros((25_000, 2), np.float32)
    rows[:, 0] = np.arange(25_000)
    collection = load((rows, np.full(25_000, -1)))
    chosen, _, _ = candidates(collection, np.arange(25_000), np.zeros(0, np.int64), 10, 0)
    other, _, _ = candidates(collection, np.arange(25_000), np.zeros(0, np.int64), 10, 1)
    assert len(chosen) == 20_000
    assert not np.array_equal(chosen, other)
    assert len(candidates(collection, np.arange(25_000), np.zeros(0, np.int64), 12_000, 0)[0]) == 24_000


@pytest.mark.parametrize("count", [20, 100])
def test_select_typical__digits_are_better_balanced_than_random_ones(count: int) -> None:
    from understudy.inspection.embedding import embed

    digits = load("digits")
    features = embed(digits, np.arange(len(digits)))
    selection = select_typical(features, features[:0], count).rows
    counts = np.bincount(digits.labels[selection], minlength=10)
    assert (counts > 0).all()
    assert counts.max() <= 2.2 * count / 10
