"""Folds: every labeled row is tested once, classes are spread evenly, groups stay whole, too few labels are refused."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.data.test_split import collection
from understudy.core.errors import DataError
from understudy.data.collection import Part
from understudy.data.folds import assign, cross_validation


@settings(max_examples=100)
@given(st.lists(st.integers(4, 30), min_size=2, max_size=6), st.integers(2, 4), st.integers(0, 9))
def test_assign__single_rows_are_spread_to_within_one(counts: list[int], num_folds: int, seed: int) -> None:
    labels = np.repeat(np.arange(len(counts)), counts)
    folds = assign(labels, np.arange(len(labels)), num_folds, seed)
    table = np.array([np.bincount(folds[labels == code], minlength=num_folds) for code in range(len(counts))])
    assert (np.ptp(table, axis=1) <= 1).all()
    assert np.ptp(table.sum(0)) <= 1


@settings(max_examples=100)
@given(st.integers(0, 2**32), st.integers(2, 4), st.integers(0, 3))
def test_cross_validation__each_label_is_tested_once_and_groups_stay_together(draw: int, folds: int, seed: int) -> None:
    random = np.random.default_rng(draw)
    labels = random.integers(-1, 3, 150)
    groups = random.integers(-1, 40, 150)
    data = collection(labels, groups=groups, num_classes=3)
    whole, parts = cross_validation(data, folds, seed)
    assert whole.labeled.tolist() == np.flatnonzero(labels >= 0).tolist()
    assert not len(whole.test)
    tested = np.concatenate([part.test for part in parts])
    assert sorted(tested.tolist()) == whole.labeled.tolist()
    for part in parts:
        assert not np.intersect1d(part.labeled, part.test).size
        assert sorted([*part.labeled, *part.test]) == whole.labeled.tolist()
        near = set(groups[part.test]) - {-1}
        assert not near & set(groups[part.labeled])
        assert not near & set(groups[part.unlabeled])


def test_cross_validation__depends_on_the_seed_alone() -> None:
    data = collection([0, 1] * 20)
    one, two, other = (cross_validation(data, 4, seed)[1] for seed in (1, 1, 2))
    assert all(np.array_equal(a.test, b.test) for a, b in zip(one, two, strict=True))
    assert any(not np.array_equal(a.test, b.test) for a, b in zip(one, other, strict=True))


def test_cross_validation__test_images_stay_out_of_it() -> None:
    parts = [Part.TEST] * 6 + [Part.TRAIN] * 20
    whole, folds = cross_validation(collection([0, 1] * 13, parts), 2)
    assert whole.test.tolist() == list(range(6))
    assert not any(np.isin(range(6), [*fold.test, *fold.labeled]).any() for fold in folds)


@pytest.mark.parametrize(
    ("labels", "groups", "folds", "sentence"),
    [
        (
            [0, 1, 0],
            None,
            4,
            "3 labels cannot be divided into 4 folds; label more images, or leave folds out and give labeled images "
            "with test",
        ),
        ([0, 1] * 3, None, 40, "6 labels cannot be divided into 40 folds; use at most 3 folds, or label more images"),
        (
            [0] * 9 + [1] * 3,
            None,
            5,
            "class '1' has 3 labels, and each of 5 folds needs one of every class; use at most 3 folds, or label 2 "
            "more images of it",
        ),
        (
            [0] * 9 + [1],
            None,
            2,
            "class '1' has 1 label, and each of 2 folds needs one of every class: a model could not both learn the "
            "class and be tested on it; label at least 2 images per class, or leave folds out and give labeled images "
            "with test",
        ),
        (
            [0] * 9 + [1] * 6,
            [*range(9), 20, 20, 20, 21, 21, 21],
            3,
            "class '1' has 6 labels in 2 groups that are never divided, and each of 3 folds needs one of every class; "
            "use at most 2 folds, or label 1 more groups of it",
        ),
        ([-1, -1], None, 2, "no training image has a label"),
    ],
)
def test_cross_validation__refuses(labels: list[int], groups: list[int] | None, folds: int, sentence: str) -> None:
    with pytest.raises(DataError) as error:
        cross_validation(collection(labels, groups=groups, num_classes=2), folds)
    assert str(error.value).startswith(sentence)
