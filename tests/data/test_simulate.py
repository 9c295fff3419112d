"""Simulated label budgets: exact totals, long tails of the ratio asked for, and nothing lost or leaked."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from tests.data.test_split import collection, collections
from understudy.core.errors import ConfigError, DataError
from understudy.data.collection import Collection, Part
from understudy.data.simulate import ORDERS, simulate
from understudy.data.split import split

Ints = NDArray[np.int64]


def shuffled(counts: list[int], seed: int = 0, num_test: int = 0) -> Collection:
    """So many images of each class in random order, and test images of the first class behind them."""
    labels = np.random.default_rng(seed).permutation(np.repeat(np.arange(len(counts)), counts))
    parts = np.repeat([Part.TRAIN, Part.TEST], [len(labels), num_test])
    return collection(np.concatenate([labels, np.zeros(num_test, np.int64)]), parts, num_classes=len(counts))


def counted(data: Collection, num_labels: int, seed: int = 0, **options: Any) -> tuple[Ints, Ints]:
    """Labels kept and images hidden of each class."""
    left, vault = simulate(data, num_labels, seed, **options)
    training = np.isin(left.parts, [Part.FREE, Part.TRAIN])
    hidden = vault.of(np.flatnonzero(training & (left.labels < 0)))
    assert (hidden >= 0).all()
    size = len(data.classes)
    return np.bincount(left.labels[training & (left.labels >= 0)], minlength=size), np.bincount(hidden, minlength=size)


def is_rounded_tail(counts: Ints, ratio: float) -> bool:
    """Whether one scale of the tail explains all counts, each off by less than an image or raised to one."""
    tail = np.array([ratio ** (-number / (len(counts) - 1)) for number in range(len(counts))])
    least = max([0.0, *((counts - 1) / tail)[counts > 1]])
    return bool(least <= min((counts + 1) / tail) + 1e-6)


tails = st.one_of(st.sampled_from([1.0, 2.0, 50.0, 100.0]), st.floats(1, 500))


@st.composite
def requests(draw: st.DrawFn) -> tuple[Collection, int, dict[str, Any]]:
    """A collection of uneven classes, a number of labels, and options that may or may not be possible."""
    counts = draw(st.lists(st.integers(2, 150), min_size=2, max_size=8))
    options = {
        "imbalance": draw(tails),
        "unlabeled_imbalance": draw(tails),
        "unlabeled_order": draw(st.sampled_from(ORDERS)),
        "num_unlabeled": draw(st.one_of(st.just(0), st.integers(len(counts), 200))),
    }
    data = shuffled(counts, draw(st.integers(0, 9)), num_test=draw(st.integers(0, 5)))
    return data, draw(st.integers(len(counts), max(len(counts), sum(counts) // 4))), options


@settings(max_examples=200)
@given(requests(), st.integers(0, 3))
def test_simulate__long_tail_totals_ratios_and_roles(
    request: tuple[Collection, int, dict[str, Any]], seed: int
) -> None:
    data, num_labels, options = request
    try:
        left, vault = simulate(data, num_labels, seed, **options)
    except DataError:
        assume(False)
    labeled, pool = counted(data, num_labels, seed, **options)
    assert labeled.sum() == num_labels
    assert labeled.min() >= 1
    assert pool.min() >= 1
    assert is_rounded_tail(labeled, options["imbalance"])
    assert (np.diff(labeled) <= 0).all()
    from_head = pool[::-1] if options["unlabeled_order"] == "reversed" else pool
    assert is_rounded_tail(from_head, options["unlabeled_imbalance"])
    assert (np.diff(from_head) <= 0).all()
    was = np.bincount(data.labels[data.parts == Part.TRAIN])
    if options["num_unlabeled"]:
        assert pool.sum() == options["num_unlabeled"]
    else:
        assert (pool == was - labeled).any(), "a larger pool would have been possible"
    out = left.parts == Part.LEFT_OUT
    assert out.sum() == (was - labeled - pool).sum()
    assert (left.labels[out] == -1).all()
    assert (vault.of(np.flatnonzero(out)) == -1).all()
    hidden = np.flatnonzero(~out & (left.labels < 0))
    np.testing.assert_array_equal(vault.of(hidden), data.labels[hidden])
    np.testing.assert_array_equal(left.labels[left.labels >= 0], data.labels[left.labels >= 0])
    np.testing.assert_array_equal(left.labels[data.parts == Part.TEST], data.labels[data.parts == Part.TEST])
    np.testing.assert_array_equal(left.parts[~out], data.parts[~out])
    splits = split(left, seed)
    roles = np.concatenate([splits.labeled, splits.unlabeled, splits.validation, splits.test])
    assert not np.intersect1d(roles, np.flatnonzero(out)).size
    assert splits.unlabeled.tolist() == hidden.tolist()


@settings(max_examples=200)
@given(requests())
def test_simulate__refuses_only_what_cannot_be(request: tuple[Collection, int, dict[str, Any]]) -> None:
    data, num_labels, options = request
    was = np.bincount(data.labels[data.parts == Part.TRAIN])
    tail = options["imbalance"] ** -np.linspace(0, 1, len(was))
    ideal = np.maximum(tail / tail.sum() * num_labels, 1)
    options |= {"num_unlabeled": 0}
    if (ideal + 2 <= was).all():
        counted(data, num_labels, **options)
    elif (ideal - len(was) > was).any():  # raising the smallest classes to one label takes at most that many
        with pytest.raises(DataError, match="labels with a ratio of"):
            simulate(data, num_labels, **options)


@pytest.mark.parametrize(("ratio", "labels", "pool"), [(50, 4_196, 8_397), (100, 3_720, 7_443), (150, 3_496, 6_996)])
def test_simulate__cifar10_lt(ratio: int, labels: int, pool: int) -> None:
    data = collection(np.repeat(np.arange(10), 5_000))
    options: dict[str, Any] = {"imbalance": ratio, "num_unlabeled": pool, "unlabeled_imbalance": ratio}
    labeled, unlabeled = counted(data, labels, **options)
    papers = [int(1500 * ratio ** (-number / 9)) for number in range(10)]
    papers_pool = np.array([int(3000 * ratio ** (-number / 9)) for number in range(10)])
    assert abs(labeled - papers).max() <= 2
    assert abs(unlabeled - papers_pool).max() <= 2
    labeled, unlabeled = counted(data, labels, unlabeled_order="reversed", **options)
    assert abs(labeled - papers).max() <= 2
    assert abs(unlabeled - papers_pool[::-1]).max() <= 2


def test_simulate__uniform_labels_and_pool() -> None:
    labeled, pool = counted(shuffled([90, 30, 60]), 30, imbalance=1.0, unlabeled_imbalance=1.0)
    assert labeled.tolist() == [10, 10, 10]
    assert pool.tolist() == [20, 20, 20]


def test_simulate__pool_as_the_data_have_it() -> None:
    data = shuffled([90, 30, 60])
    labeled, pool = counted(data, 20, imbalance=4.0)
    assert labeled.tolist() == [11, 6, 3]
    assert pool.tolist() == [79, 24, 57]
    labeled, pool = counted(data, 18, num_unlabeled=54)
    assert labeled.tolist() == [9, 3, 6]
    assert pool.tolist() == [27, 9, 18]
    labeled, pool = counted(data, 20, imbalance=4.0, num_unlabeled=159)
    assert pool.tolist() == [78, 24, 57]
    labeled, pool = counted(data, 180)
    assert pool.sum() == 0


def test_simulate__seed_chooses_images_and_not_counts() -> None:
    data, options = shuffled([60, 60, 60]), {"imbalance": 5.0, "unlabeled_imbalance": 3.0}
    one, again, two = (simulate(data, 20, seed, **options)[0] for seed in (0, 0, 1))
    assert one.labels.tolist() == again.labels.tolist() != two.labels.tolist()
    assert one.parts.tolist() == again.parts.tolist() != two.parts.tolist()
    assert one.content == again.content != two.content
    assert [role.tolist() for role in counted(data, 20, 0, **options)] == [
        role.tolist() for role in counted(data, 20, 1, **options)
    ]


def test_simulate__pools_of_other_ratios_share_the_labels_and_differ_in_content() -> None:
    data = shuffled([60, 60, 60])
    found = [
        simulate(data, 20, imbalance=5.0, unlabeled_imbalance=ratio, unlabeled_order=order)[0]
        for ratio, order in ((3.0, "same"), (3.0, "reversed"), (9.0, "same"), (1.0, "same"))
    ]
    assert len({one.content for one in found}) == 4
    assert len({tuple(np.flatnonzero(one.labels >= 0)) for one in found}) == 1


@pytest.mark.parametrize(
    ("num_labels", "options", "note"),
    [
        (20, {}, "20 of 300 training labels are kept: labels per class 7 to 6"),
        (30, {}, "30 of 300 training labels are kept: labels per class 10"),
        (
            70,
            {"imbalance": 4.0, "unlabeled_imbalance": 4.0},
            "labels per class 40 to 10 (ratio 4), pool per class 60 to 15 (ratio 4, same order); 125 images left out",
        ),
        (
            9,
            {"imbalance": 4.0, "unlabeled_imbalance": 9.0, "unlabeled_order": "reversed"},
            "labels per class 5 to 1 (ratio 5, 4 before rounding), "
            "pool per class 99 to 11 (ratio 9, reversed order); 148 images left out",
        ),
        (30, {"num_unlabeled": 90}, "labels per class 10, pool per class 30; 180 images left out"),
    ],
)
def test_simulate__note(num_labels: int, options: dict[str, Any], note: str) -> None:
    found = simulate(shuffled([100, 100, 100]), num_labels, **options)[0].notes[-1]
    assert found.endswith(note)
    assert ("left out" in found) == ("left out" in note)


@pytest.mark.parametrize(
    ("num_labels", "options", "message"),
    [
        (
            100,
            {"imbalance": 50.0},
            r"100 labels with a ratio of 50 need 86 images of class '0', of which there are 60; "
            r"ask for at most 70, or for a ratio of at most 4$",
        ),
        (
            130,
            {"imbalance": 2.0},
            r"130 labels with a ratio of 2 need 42 images of class '1', of which there are 40; ask for at most 126$",
        ),
        (
            12,
            {"unlabeled_imbalance": 4.0, "num_unlabeled": 100},
            r"100 unlabeled images with a ratio of 4 need 57 images of class '0', of which the labels leave 55; "
            r"ask for at most 97, or for a ratio of at most 3",
        ),
        (
            12,
            {"unlabeled_imbalance": 4.0, "num_unlabeled": 100, "unlabeled_order": "reversed"},
            r"100 unlabeled images with a ratio of 4 need 57 images of class '2', of which the labels leave 36",
        ),
        (12, {"unlabeled_imbalance": 4.0, "num_unlabeled": 2}, "a pool of 2 has no image of some class; ask for at le"),
        (12, {"num_unlabeled": 129}, "a pool of 129 was asked for, and the labels leave 128 images; ask for fewer"),
        (
            140,
            {"unlabeled_imbalance": 1.0},
            "all images of class '0' keep their label and none is left for the pool; ask for fewer",
        ),
    ],
)
def test_simulate__too_few_images(num_labels: int, options: dict[str, Any], message: str) -> None:
    with pytest.raises(DataError, match=message):
        simulate(shuffled([60, 40, 40]), num_labels, **options)


def test_simulate__advice_can_be_followed() -> None:
    data = shuffled([60, 40, 40])
    counted(data, 70, imbalance=50.0)
    counted(data, 100, imbalance=4.0)
    for num_labels, ratio in ((71, 50.0), (100, 5.0)):
        with pytest.raises(DataError, match="need 61 images of class '0'"):
            simulate(data, num_labels, imbalance=ratio)


@pytest.mark.parametrize("options", [{"num_unlabeled": 5}, {"unlabeled_imbalance": 2.0}])
def test_simulate__pool_of_unknown_classes(options: dict[str, Any]) -> None:
    data = collection([0, 1] * 20 + [-1] * 3)
    with pytest.raises(DataError, match=r"3 of the training images have no label, so a pool cannot be chosen from"):
        simulate(data, 10, **options)
    left, vault = simulate(data, 10, imbalance=3.0)
    assert np.bincount(left.labels[left.labels >= 0]).tolist() == [8, 2]
    assert (len(vault), (left.labels < 0).sum()) == (30, 33)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (
            {"imbalance": 0.5},
            "imbalance is 0.5; give the largest class as a multiple of the smallest, at least 1, or 0",
        ),
        ({"imbalance": -2.0}, "imbalance is -2; give the largest"),
        ({"imbalance": float("nan")}, "imbalance is nan; give the largest"),
        ({"imbalance": float("inf")}, "imbalance is inf; give the largest"),
        ({"unlabeled_imbalance": -100.0}, "for a pool in reversed order set unlabeled_order"),
        ({"num_unlabeled": -1}, "num_unlabeled is -1; give a number of images"),
        ({"unlabeled_imbalance": 2.0, "unlabeled_order": "reverse"}, "did you mean 'reversed'?"),
        ({"unlabeled_order": "reversed"}, "without a ratio to reverse; set unlabeled_imbalance too"),
    ],
)
def test_simulate__contradictory_options(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError) as caught:
        simulate(collection([0, 1] * 50), 10, **options)
    assert message in str(caught.value)


def test_simulate__class_without_training_images_has_no_place_in_the_tail() -> None:
    data = collection([0] * 20 + [2] * 20 + [1] * 5, [Part.TRAIN] * 40 + [Part.TEST] * 5)
    labeled, pool = counted(data, 8, imbalance=3.0, unlabeled_imbalance=2.0)
    assert labeled.tolist() == [6, 0, 2]
    assert pool.tolist() == [14, 0, 7]


@settings(max_examples=100)
@given(st.integers(2, 400), st.floats(1, 1e6), st.integers(0, 3_000))
def test_simulate__many_classes_and_steep_tails(num_classes: int, ratio: float, more: int) -> None:
    data = collection(np.repeat(np.arange(num_classes), [4_000] + [40] * (num_classes - 1)), num_classes=num_classes)
    try:
        labeled, _ = counted(data, num_classes + more, imbalance=ratio)
    except DataError:
        return
    assert labeled.sum() == num_classes + more
    assert labeled.min() >= 1
    assert is_rounded_tail(labeled, ratio)


@settings(max_examples=200)
@given(collections(), st.integers(0, 200), st.integers(0, 5))
def test_simulate__keeps_that_many_and_hides_the_rest(data: Collection, num_labels: int, seed: int) -> None:
    training = np.isin(data.parts, [Part.FREE, Part.TRAIN])
    before = training & (data.labels >= 0)
    try:
        left, vault = simulate(data, num_labels, seed)
    except DataError:
        assert not len(data.classes) <= num_labels <= before.sum()
        return
    kept = training & (left.labels >= 0)
    assert kept.sum() == num_labels
    assert set(left.labels[kept]) == set(data.labels[before])
    np.testing.assert_array_equal(left.labels[~training], data.labels[~training])
    hidden = np.flatnonzero(before & ~kept)
    assert len(vault) == len(hidden)
    np.testing.assert_array_equal(vault.of(np.arange(len(data)))[hidden], data.labels[hidden])
    assert (vault.of(np.flatnonzero(~before | kept)) == -1).all()
    counts, total = np.bincount(data.labels[before]), before.sum()
    if (counts * num_labels / total >= 1).all():
        assert (abs(np.bincount(left.labels[kept]) - counts * num_labels / total) < 1 + 1e-9).all()


def test_simulate__seed_and_identity() -> None:
    data = collection([0, 1] * 50)
    one, two = simulate(data, 10, 0)[0], simulate(data, 10, 1)[0]
    assert one.labels.tolist() == simulate(data, 10, 0)[0].labels.tolist() != two.labels.tolist()
    assert len({data.content, one.content, two.content}) == 3


def test_hidden_labels__accuracy() -> None:
    left, vault = simulate(collection([0, 1] * 50), 10)
    ids = np.flatnonzero(left.labels < 0)
    assert vault.accuracy(ids, vault.of(ids)) == 1
    assert vault.accuracy(ids, np.zeros(len(ids), np.int64)) == 0.5
    assert np.isnan(vault.accuracy(np.flatnonzero(left.labels >= 0), np.zeros(10, np.int64)))
    assert "0" not in repr(vault)


@pytest.mark.parametrize("number", [1, 101])
def test_simulate__refused(number: int) -> None:
    message = (
        rf"{number} labels cannot be kept: give a number from 2, one per class, to 100, the labels of the training"
    )
    with pytest.raises(DataError, match=message):
        simulate(collection([0, 1] * 50), number)
