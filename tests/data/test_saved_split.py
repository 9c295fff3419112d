"""A division into training, validation and test: stratified, in whole groups, seeded, with the given parts kept."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.data.test_split import collection
from understudy.core.errors import DataError
from understudy.data.collection import Collection, Part
from understudy.data.saved_split import divide

USUAL = {Part.VALIDATION: 0.1, Part.TEST: 0.2}


def counts(data: Collection, parts: np.ndarray[Any, Any], part: Part) -> list[int]:
    chosen = (parts == part) & (data.labels >= 0)
    return np.bincount(data.labels[chosen], minlength=len(data.classes)).tolist()


def test_divide__shares_of_every_class() -> None:
    data = collection([*np.repeat([0, 1, 2, 3, 4], [100, 31, 5, 2, 1]), -1, -1])
    parts, notes = divide(data, USUAL)
    assert counts(data, parts, Part.TEST) == [20, 6, 1, 1, 0]
    assert counts(data, parts, Part.VALIDATION) == [10, 3, 1, 0, 0]
    assert counts(data, parts, Part.TRAIN) == [70, 22, 3, 1, 1]
    assert (parts[-2:] == Part.TRAIN).all()
    assert notes == [
        "1 class has too few images or groups for a test image: 4",
        "2 classes have too few images or groups for a validation image: 3, 4",
    ]


def test_divide__same_seed_same_division() -> None:
    data = collection([0, 1] * 50)
    one, again, other = (divide(data, USUAL, seed)[0].tolist() for seed in (3, 3, 4))
    assert one == again != other


@settings(max_examples=30)
@given(st.integers(0, 1000), st.booleans())
def test_divide__groups_and_copies_stay_together(seed: int, has_groups: bool) -> None:
    random = np.random.default_rng(seed)
    count = 80
    groups = random.integers(-1, 40, count) if has_groups else None
    copies = np.where(np.arange(count) < 20, random.integers(0, 10, count), -1)
    data = replace(collection(np.arange(count) % 2, None, groups), copies=copies)
    parts, _ = divide(data, {Part.TEST: 0.2, Part.VALIDATION: 0.2}, seed)
    for numbers in (data.groups, data.copies):
        if numbers is not None:
            assert all(len(set(parts[numbers == number])) == 1 for number in set(numbers.tolist()) - {-1})
    assert min(counts(data, parts, Part.TRAIN)) >= 1
    assert sum(counts(data, parts, Part.TEST)) >= 8


def test_divide__what_is_never_drawn() -> None:
    given = [Part.TEST] * 4 + [Part.PSEUDO] * 20 + [Part.TRAIN] * 40 + [Part.LEFT_OUT] * 2
    groups = [0, 0, -1, -1, *[-1] * 20, 0, 0, *[-1] * 38, -1, -1]
    data = collection([0, 1] * 33, given, groups)
    for seed in range(10):  # of which half would draw the two by chance
        parts, _ = divide(data, {Part.VALIDATION: 0.5}, seed)
        assert (parts[[*range(24), 64, 65]] == np.asarray(given)[[*range(24), 64, 65]]).all()
        assert (parts[24:26] == Part.TRAIN).all(), "they share a group with a test row"
        assert counts(data, parts, Part.VALIDATION) == [10, 10]  # half of the 19 that are free, rounded to even


def test_divide__refused() -> None:
    with pytest.raises(DataError, match="no training image has a label"):
        divide(collection([0, 1, -1], [Part.TEST, Part.TEST, Part.TRAIN]), USUAL)
    with pytest.raises(DataError, match="no image can be drawn as a test image and leave one of its class to train"):
        divide(collection([0, 1, 2]), USUAL)
    with pytest.raises(DataError, match="no image can be drawn as a validation image"):
        divide(collection([0, 1] * 10, None, [0] * 20), {Part.VALIDATION: 0.5})
