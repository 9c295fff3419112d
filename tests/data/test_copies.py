"""Copies are found whatever the rows are, never made up, and carried by whatever is made of a collection."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from tests.data.conftest import Make, picture
from tests.data.test_split import collection
from understudy.core.errors import DataError
from understudy.data import copies as copies_module
from understudy.data.collection import Collection, Part
from understudy.data.copies import exact_copies, hash_rows, joined
from understudy.data.folds import cross_validation
from understudy.data.load import load
from understudy.data.simulate import simulate
from understudy.data.split import Splits, split


def slow_copies(rows: torch.Tensor) -> list[int]:
    texts = [row.numpy().tobytes() for row in rows]
    groups: dict[bytes, int] = {}
    return [groups.setdefault(text, len(groups)) if texts.count(text) > 1 else -1 for text in texts]


@settings(max_examples=60)
@given(st.integers(0, 2**32), st.integers(1, 60), st.sampled_from([(1, 1, 1), (3, 3, 3), (1, 8, 8), (5,)]))
def test_exact_copies__as_a_slow_search_finds(seed: int, count: int, shape: tuple[int, ...]) -> None:
    random = np.random.default_rng(seed)
    kinds = torch.from_numpy(random.integers(0, 256, (40, *shape), dtype=np.uint8))
    rows = kinds[random.integers(0, 40, count)]
    assert exact_copies(rows).tolist() == slow_copies(rows)
    assert exact_copies(rows.float() / 7).tolist() == slow_copies(rows)


def test_exact_copies__in_many_small_chunks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(copies_module, "_CHUNK_BYTES", 200)
    rows = torch.from_numpy(np.random.default_rng(0).integers(0, 2, (200, 1, 2, 3), dtype=np.uint8))
    assert exact_copies(rows).tolist() == slow_copies(rows)


def test_exact_copies__equal_hashes_are_not_believed() -> None:
    rows = torch.tensor([[1], [2], [1], [3], [2], [4]], dtype=torch.uint8)
    assert exact_copies(rows, np.zeros(6, np.uint64)).tolist() == [0, 1, 0, -1, 1, -1]


def test_hash_rows__a_change_of_one_bit_or_of_the_highest_bits_shows() -> None:
    rows = torch.zeros(130, 16, dtype=torch.uint8)
    for bit in range(128):
        rows[bit, bit // 8] = 1 << bit % 8
    rows[128, 7] = rows[128, 15] = 128
    assert len(np.unique(hash_rows(rows))) == 130


def test_joined__through_groups_and_copies() -> None:
    found = joined(np.array([5, 5, 9, 7, 8]), np.array([-1, 3, 3, -1, -1]))
    assert found[0] == found[1] == found[2]
    assert len(set(found.tolist())) == 3


def test_load__copies_and_sizes_of_files(make: Make, tmp_path: Path) -> None:
    root = make("photos", "cat/0.png", "cat/1.png", "dog/2.png", "dog/3.png")
    picture(0).save(root / "dog" / "copy.bmp")
    picture(9, (48, 16)).save(root / "dog" / "wide.png")
    unlabeled = make("unlabeled", "0.png")
    data = load(root, unlabeled=unlabeled)
    assert data.names[data.copies == 0].tolist() == ["cat/0.png", "dog/copy.bmp", "unlabeled:0.png"]
    assert (data.copies == -1).sum() == 4
    assert data.sizes is not None
    assert data.sizes[data.names == "dog/wide.png"].tolist() == [[48, 16]]


def test_load__copies_across_arrays_and_files(make: Make) -> None:
    pixels = np.stack([np.asarray(picture(seed)) for seed in range(4)])
    arrays = load((pixels, [0, 1, 0, 1]), unlabeled=make("unlabeled", "0.png", "1.png"))
    assert arrays.copies is not None
    assert arrays.copies.tolist() == [0, 1, -1, -1, 0, 1]
    assert arrays.sizes is not None
    assert arrays.sizes.tolist() == [[0, 0]] * 4 + [[16, 16]] * 2
    assert load((pixels, [0, 1, 0, 1])).sizes is None


def with_copies(labels: Sequence[int], copies: Sequence[int], **more: object) -> Collection:
    return replace(collection(labels, **more), copies=np.asarray(copies, np.int64))  # type: ignore[arg-type]


TRAIN, VALIDATION, TEST = Part.TRAIN, Part.VALIDATION, Part.TEST


def test_split__copies_of_test_images_do_not_train() -> None:
    data = with_copies(
        [0, 1, 0, 1, -1, -1, -1, 0, 1],
        [0, -1, -1, 2, 0, 1, 2, 0, 1],
        parts=[TRAIN] * 7 + [TEST] * 2,
    )
    splits = split(data)
    assert splits.labeled.tolist() == [1, 2, 3]
    assert not len(splits.unlabeled)
    assert splits.note == (
        "The 2 test images only measure accuracy; 3 copies of them do not train (2 of them in the pool); "
        "1 copy of labeled images is left out of the pool; of 3 unlabeled images none is left to train on. "
        "There are no validation images, so nothing is selected and the last weights are used; a tenth of the labels "
        "is held out to select from 2,000 labels on."
    )


def test_split__a_copy_of_a_test_image_does_not_validate() -> None:
    data = with_copies(
        [0, 1, 0, 1, 0, 1],
        [-1, -1, 0, -1, 0, -1],
        parts=[TRAIN, TRAIN, VALIDATION, VALIDATION, TEST, TEST],
    )
    splits = split(data)
    assert splits.validation.tolist() == [3]
    assert "; 1 copy of test images do not validate." not in splits.note
    assert "; 1 copy of test images do not validate; there are no" in splits.note


def test_split__copies_of_choosing_images_do_not_train() -> None:
    data = with_copies(
        [0, 1, 0, 1, 0, 1, -1], [0, -1, -1, 0, -1, -1, 0], parts=[TRAIN, TRAIN, TRAIN, VALIDATION, TEST, TEST, TRAIN]
    )
    splits = split(data)
    assert splits.labeled.tolist() == [1, 2]
    assert not len(splits.unlabeled)


def test_split__a_class_of_copies_is_trained_on_and_not_tested() -> None:
    data = with_copies([0] * 20 + [1] * 20, [0] * 20 + [-1] * 20)
    splits = split(data)
    assert np.bincount(data.labels[splits.test]).tolist() == [0, 4]
    assert np.bincount(data.labels[splits.labeled]).tolist() == [20, 16]


@pytest.mark.parametrize("seed", range(3))
def test_split__no_copy_crosses(seed: int) -> None:
    random = np.random.default_rng(seed)
    labels = random.integers(-1, 2, 1000)
    data = with_copies(labels, random.integers(-1, 400, 1000))
    splits = split(data, seed)
    assert len(splits.test)
    apart = [set(data.copies[ids]) - {-1} for ids in (splits.labeled, splits.unlabeled, splits.validation, splits.test)]  # type: ignore[index]
    for at, one in enumerate(apart):
        for other in apart[at + 1 :]:
            assert not one & other


def test_split__without_copies_the_draws_stay() -> None:
    data = collection([0, 1, 1] * 1000 + [-1] * 50)
    assert split(replace(data, copies=np.full(3050, -1))).content == split(data).content
    # Known from before there was an audit.
    assert split(data).content == "fca1e7ed7f3b590d2383e59eaccdddc7"


def test_split__all_training_images_are_test_images() -> None:
    data = with_copies([0, 1, 0, 1], [0, 1, 0, 1], parts=[TRAIN, TRAIN, TEST, TEST])
    with pytest.raises(DataError, match="of 2 labeled training images, 2 are copies of test or validation images, and"):
        split(data)


def test_split__all_images_are_one() -> None:
    images = np.full((6, 8, 8, 3), 7, np.uint8)
    data = load((images, [0, 1, 0, 1, -1, -1]))
    with pytest.raises(DataError, match=r"^all 6 images are the same picture, byte for byte, and teach nothing; give"):
        split(data)
    with pytest.raises(DataError, match=r"^all 2 rows are the same, byte"):
        split(load((np.ones((2, 3)), [0, 1])))


def test_cross_validation__copies_are_in_one_fold() -> None:
    random = np.random.default_rng(0)
    labels = random.integers(-1, 3, 300)
    data = with_copies(labels, random.integers(-1, 300, 300), groups=random.integers(-1, 400, 300))
    whole, folds = cross_validation(data, 3)
    assert data.copies is not None
    assert sorted(np.concatenate([fold.test for fold in folds]).tolist()) == whole.labeled.tolist()
    for fold in folds:
        trains = np.concatenate([fold.labeled, fold.unlabeled])
        assert not (set(data.copies[fold.test]) - {-1}) & set(data.copies[trains])


def test_cross_validation__a_class_of_one_picture() -> None:
    with pytest.raises(DataError, match="class '0' has 4 labels, all copies of 1 picture, and each of 2 folds"):
        cross_validation(with_copies([0] * 4 + [1] * 4, [0] * 4 + [-1] * 4), 2)


def test_simulate__keeps_copies() -> None:
    data = with_copies([0, 1] * 50, np.repeat(np.arange(50), 2).tolist())
    hidden, _ = simulate(data, 10)
    assert hidden.copies is data.copies
    splits: Splits = split(hidden, share=None)
    assert "copies of labeled images are left out of the pool" in splits.note


def test_load__a_jpeg_and_its_copy_under_another_name(tmp_path: Path) -> None:
    folder = tmp_path / "photos"
    for name in ("cat", "dog"):
        (folder / name).mkdir(parents=True)
    Image.fromarray(np.asarray(picture(1, (64, 48)))).save(folder / "cat" / "a.jpg")
    (folder / "dog" / "b.jpeg").write_bytes((folder / "cat" / "a.jpg").read_bytes())
    picture(2, (64, 48)).save(folder / "dog" / "c.jpg")
    data = load(folder)
    assert data.copies is not None
    assert data.copies.tolist() == [0, 0, -1]
