"""Splits and simulations: disjoint, stratified, seeded, by group, and never larger than the data allow."""

from __future__ import annotations

import time
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from understudy.core.errors import ConfigError, DataError, RunFolderError
from understudy.data.collection import Collection, Part
from understudy.data.split import Splits, hold_out, split
from understudy.data.table import to_names


def collection(labels: object, parts: object = None, groups: object = None, num_classes: int = 0) -> Collection:
    codes = np.asarray(labels, np.int64)
    classes = tuple(str(code) for code in range(max(num_classes, codes.max() + 1)))
    return Collection(
        rows=torch.zeros(len(codes), 1),
        names=to_names(str(row) for row in range(len(codes))),
        labels=codes,
        classes=classes,
        values=classes,
        parts=np.zeros(len(codes), np.uint8) if parts is None else np.asarray(parts, np.uint8),
        groups=None if groups is None else np.asarray(groups, np.int64),
        weights=np.ones(len(codes), np.float32),
        size=None,
        content="text",
    )


@st.composite
def collections(draw: st.DrawFn) -> Collection:
    num_classes = draw(st.integers(2, 6))
    count = draw(st.integers(2 * num_classes, 120))
    random = np.random.default_rng(draw(st.integers(0, 2**32)))
    labels = random.integers(-1, num_classes, count)
    labels[: 2 * num_classes] = np.tile(np.arange(num_classes), 2)
    parts = random.choice([0, 1, 2, 3], count, p=draw(st.sampled_from([(0.5, 0.5, 0, 0), (0.4, 0.2, 0.2, 0.2)])))
    parts[: 2 * num_classes] = Part.TRAIN
    groups = draw(st.sampled_from([None, 3, 40]))
    return collection(labels, parts, None if groups is None else random.integers(-1, groups, count))


@settings(max_examples=300)
@given(collections(), st.integers(0, 5), st.sampled_from([0.1, 0.2, 0.5, 0.9]))
def test_split__roles_are_sound(data: Collection, seed: int, share: float) -> None:
    try:
        splits = split(data, seed, share=share)
    except DataError:
        assert data.groups is not None  # nothing else can go wrong with two labels per class
        return
    roles = [splits.labeled, splits.unlabeled, splits.validation, splits.test]
    ids = np.concatenate(roles)
    assert len(np.unique(ids)) == len(ids)
    assert all((np.diff(role) > 0).all() for role in roles)
    assert (data.labels[np.concatenate([splits.labeled, splits.validation, splits.test])] >= 0).all()
    assert (data.labels[splits.unlabeled] < 0).all()
    assert not np.isin(data.parts[np.concatenate(roles[:2])], [Part.TEST, Part.VALIDATION]).any()
    tests = np.flatnonzero((data.parts == Part.TEST) & (data.labels >= 0))
    if len(tests):
        assert splits.test.tolist() == tests.tolist()
        assert splits.test_source == "test"
    assert (splits.test_source == "nothing") == (not len(splits.test))
    if data.groups is not None:
        training, validation, test = (
            set(data.groups[part]) - {-1} for part in (ids_of(splits), splits.validation, splits.test)
        )
        assert not training & validation
        assert not training & test
        assert not validation & test
    again = split(data, seed, share=share)
    assert again.content == splits.content


def ids_of(splits: Splits) -> np.ndarray:
    return np.concatenate([splits.labeled, splits.unlabeled])


@settings(max_examples=200)
@given(st.lists(st.integers(1, 60), min_size=2, max_size=30), st.integers(0, 3))
def test_hold_out__about_the_share_of_every_class(counts: list[int], seed: int) -> None:
    data = collection(np.repeat(np.arange(len(counts)), counts))
    held = np.bincount(data.labels[hold_out(data, np.arange(len(data)), 0.2, seed)], minlength=len(counts))
    for count, number in zip(counts, held, strict=True):
        assert number == (max(1, round(0.2 * count)) if count > 1 else 0)


def test_split__nothing_under_five_labels_per_class() -> None:
    splits = split(collection([0, 1] * 4 + [-1] * 10))
    assert splits.test_source == "nothing"
    assert len(splits.labeled) == 8
    expected = "Nothing is held out, since the 8 labels are under 5 per class: whether it helped stays unproven."
    assert splits.note == expected


def test_split__one_label_per_class_trains() -> None:
    splits = split(collection([0, 1, 2, -1, -1]))
    assert splits.labeled.tolist() == [0, 1, 2]
    assert splits.unlabeled.tolist() == [3, 4]


def test_split__up_to_400_held_out_all_test() -> None:
    splits = split(collection([0, 1] * 1000))
    assert (len(splits.test), len(splits.validation), len(splits.labeled)) == (400, 0, 1600)
    assert (
        splits.note
        == "The 400 images held out of 2,000 labeled ones only measure accuracy; there are no unlabeled images."
    )


def test_split__beyond_400_half_validate() -> None:
    splits = split(collection([0, 1, 1, 1] * 1000))
    assert (len(splits.test), len(splits.validation)) == (400, 400)
    assert splits.test_source == "held out"


def test_split__a_class_is_tested_before_it_is_validated() -> None:
    data = collection([0] * 2_000 + [1] * 300 + [2] * 10 + [3] * 4 + [4])
    splits = split(data)
    counts = {role: np.bincount(data.labels[getattr(splits, role)], minlength=5) for role in ("validation", "test")}
    assert counts["validation"].tolist() == [200, 30, 1, 0, 0]
    assert counts["test"].tolist() == [200, 30, 1, 1, 0]
    assert "; no image tests 1 of the classes, which have too few labels: 4; there are no" in splits.note
    assert "too few labels" not in split(collection([0] * 2_000 + [1] * 300)).note


def test_split__given_validation() -> None:
    splits = split(collection([0, 1] * 30, [Part.TRAIN] * 40 + [Part.VALIDATION] * 20))
    assert splits.test.tolist() == list(range(40, 60))
    assert splits.note.startswith("The 20 images given as validation only measure accuracy, since there are no test")
    with_test = split(collection([0, 1] * 30, [Part.TRAIN] * 40 + [Part.VALIDATION] * 10 + [Part.TEST] * 10))
    assert with_test.validation.tolist() == list(range(40, 50))
    assert with_test.test.tolist() == list(range(50, 60))
    assert with_test.test_source == "test"


def test_split__test_given_keeps_all_labels_unless_there_are_many() -> None:
    few = split(collection([0, 1] * 1499, [Part.TRAIN] * 1998 + [Part.TEST] * 1000))
    assert (len(few.labeled), len(few.validation), len(few.test)) == (1998, 0, 1000)
    assert ". There are no validation images, so nothing is selected and the last weights are used; a" in few.note
    enough = split(collection([0, 1] * 1500, [Part.TRAIN] * 2000 + [Part.TEST] * 1000))
    assert (len(enough.labeled), len(enough.validation), len(enough.test)) == (1800, 200, 1000)
    assert "; 200 validation images select" in enough.note
    assert len(split(collection([0, 1] * 1500, [Part.TRAIN] * 2000 + [Part.TEST] * 1000), share=None).validation) == 0
    many = split(collection([0, 1] * 10_000, [Part.TRAIN] * 19_000 + [Part.TEST] * 1000))
    assert (len(many.labeled), len(many.validation), len(many.test)) == (18_000, 1000, 1000)


def test_split__classes_with_few_labels_keep_them_for_training() -> None:
    labels = [*np.repeat([0, 1], 1_100), *[2] * 9, *[3] * 10]
    data = collection([*labels, 0, 1], [Part.TRAIN] * len(labels) + [Part.TEST] * 2)
    assert np.bincount(data.labels[split(data).validation], minlength=4).tolist() == [110, 110, 0, 1]
    thousand = collection([*np.repeat(np.arange(1_000), 9), 0], [Part.TRAIN] * 9_000 + [Part.TEST])
    assert len(split(thousand).labeled) == 9_000


def test_split__unlabeled_test_images_are_in_no_role() -> None:
    splits = split(collection([0, 1, -1, -1], [Part.TRAIN, Part.TRAIN, Part.TEST, Part.FREE]))
    assert splits.unlabeled.tolist() == [3]


def test_split__does_not_depend_on_the_pool() -> None:
    small, large = split(collection([0, 1] * 50)), split(collection([0, 1] * 50 + [-1] * 1000))
    assert small.test.tolist() == large.test.tolist()
    assert split(collection([0, 1] * 50), seed=1).test.tolist() != small.test.tolist()


def test_split__groups_of_held_out_images_leave_the_pool() -> None:
    data = collection([0, 1] * 20 + [-1] * 40, groups=np.tile(np.arange(40), 2))
    splits = split(data)
    assert len(splits.test) == 8
    assert len(splits.unlabeled) == 32
    assert "; 8 images that share a group with them do not train" in splits.note


def test_split__one_group_cannot_be_split() -> None:
    splits = split(collection([0, 1] * 20, groups=[0] * 40))
    assert splits.test_source == "nothing"
    assert "cannot be split by group" in splits.note


def test_split__groups_over_all_training_images() -> None:
    data = collection([0, 1] * 4, [Part.TRAIN] * 4 + [Part.TEST] * 4, groups=[0] * 8)
    with pytest.raises(DataError, match="of 4 labeled training images, 4 share a group with test or validation"):
        split(data)


def test_split__thousand_classes_unequal() -> None:
    random = np.random.default_rng(0)
    labels = np.concatenate([np.arange(1000), random.zipf(1.5, 20_000) % 1000])
    splits = split(collection(labels))
    assert set(labels[splits.labeled]) == set(range(1000))


@pytest.mark.parametrize(
    ("labels", "message"),
    [
        ([-1, -1], "no training image has a label; put some images into a folder per class, or fill in"),
        ([1, 1, -1], "all training labels are '1'; give labeled images of at least two classes"),
    ],
)
def test_split__refused(labels: list[int], message: str) -> None:
    with pytest.raises(DataError, match=message):
        split(collection(labels, num_classes=2))


def test_split__impossible_share() -> None:
    with pytest.raises(ConfigError, match=r"the share to hold out is 1.5; give a number between 0 and 1"):
        split(collection([0, 1]), share=1.5)


def test_splits__save_and_load(tmp_path: Path) -> None:
    data = collection([0, 1] * 1500 + [-1, -1, 0, -1])
    splits = split(data)
    splits.save(tmp_path / "splits.json", data)
    loaded = Splits.load(tmp_path / "splits.json", data)
    assert loaded.content == splits.content
    assert (loaded.test_source, loaded.note) == (splits.test_source, splits.note)


def test_splits__load_refused(tmp_path: Path) -> None:
    data, path = collection([0, 1] * 50 + [-1]), tmp_path / "splits.json"
    split(data).save(path, data)
    with pytest.raises(RunFolderError, match="belongs to other images than those given; split the data anew"):
        Splits.load(path, collection([0, 1] * 51))
    path.write_text(path.read_text().replace('"version": 1', '"version": 2'))
    with pytest.raises(RunFolderError, match="was written by a newer version of understudy; upgrade to read it"):
        Splits.load(path, data)
    path.write_text("{")
    with pytest.raises(RunFolderError, match="cannot be read as saved splits"):
        Splits.load(path, data)


def test_split__million_rows_is_fast() -> None:
    labels = np.full(1_000_000, -1)
    labels[::10] = np.arange(100_000) % 100
    start = time.process_time()
    splits = split(collection(labels))
    assert time.process_time() - start < 10
    assert len(splits.unlabeled) == 900_000
