"""Arrays and tensors: every layout and label type users have, and a sentence for the others."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from understudy.core.errors import DataError
from understudy.data.collection import Part
from understudy.data.load import load

IMAGES = np.random.default_rng(0).integers(0, 256, (6, 12, 12, 3), dtype=np.uint8)
LABELS = np.array([0, 1, -1, 2, -1, 0])


@pytest.mark.parametrize(
    "images",
    [
        IMAGES,
        torch.from_numpy(IMAGES).permute(0, 3, 1, 2),
        IMAGES.transpose(0, 3, 1, 2),
        IMAGES.astype(np.float32) / 255,
        IMAGES.astype(np.float64),
        IMAGES.astype(np.int64),
        list(IMAGES),
    ],
    ids=["n h w c", "tensor n c h w", "n c h w", "unit floats", "floats to 255", "integers", "list"],
)
def test_load__image_layouts(images: Any) -> None:
    data = load((images, LABELS))
    np.testing.assert_array_equal(data.rows.numpy(), IMAGES.transpose(0, 3, 1, 2))
    assert data.labels.tolist() == LABELS.tolist()
    assert data.values == (0, 1, 2)
    assert data.classes == ("0", "1", "2")
    assert data.names.tolist() == ["0", "1", "2", "3", "4", "5"]
    assert data.shape == (3, 12, 12)


def test_load__arrays_are_not_copied() -> None:
    images = torch.from_numpy(IMAGES).permute(0, 3, 1, 2).contiguous()
    assert load((images, LABELS)).rows.data_ptr() == images.data_ptr()


def test_load__gray_images_and_16_bit() -> None:
    values = np.arange(6 * 64, dtype=np.uint16).reshape(6, 8, 8) * 170
    data = load((values, LABELS))
    assert data.shape == (1, 8, 8)
    np.testing.assert_allclose(data.rows[:, 0].numpy(), values / 257, atol=0.51)
    assert load((np.repeat(IMAGES[..., :1], 3, -1), LABELS)).shape == (1, 12, 12)


def test_load__read_only_array() -> None:
    images = IMAGES.copy()
    images.flags.writeable = False
    assert len(load((images.transpose(0, 3, 1, 2), LABELS))) == 6


def test_load__vectors() -> None:
    data = load((np.arange(12.0).reshape(6, 2), LABELS), test=(np.zeros((2, 2)), [0, 1]))
    assert data.rows.dtype == torch.float32
    assert data.shape == (2,)
    assert data.size is None
    assert data.parts.tolist() == [Part.FREE] * 6 + [Part.TEST] * 2
    assert data.names[6] == "test:0"


@pytest.mark.parametrize(
    ("labels", "values"),
    [
        (["b", "a", "", "a", "b", "b"], ("a", "b")),
        (["b", "a", None, "a", "b", "b"], ("a", "b")),
        (np.array(["b", "a", -1, "a", "b", "b"], dtype=object), ("a", "b")),
        ([10, 9, -1, 9, 10, 10], (9, 10)),
        ([10.0, 9.0, float("nan"), 9.0, 10.0, 10.0], (9, 10)),
        (torch.tensor([10, 9, -1, 9, 10, 10]), (9, 10)),
        ([10, 9, None, 9, 10, 10], (9, 10)),
    ],
)
def test_load__label_types(labels: Any, values: tuple[object, ...]) -> None:
    data = load((IMAGES, labels))
    assert data.values == values
    assert data.labels.tolist() == [1, 0, -1, 0, 1, 1]


def test_load__truth_values_are_labels() -> None:
    data = load((IMAGES, LABELS > 0))
    assert data.values == (False, True)


def test_load__unlabeled_and_test_arrays() -> None:
    data = load((IMAGES, LABELS), unlabeled=IMAGES[:2, :8], test=(torch.from_numpy(IMAGES[:1]), ["2"]))
    assert data.labels.tolist() == [*LABELS.tolist(), 2, -1, -1]
    assert data.rows.shape == (9, 3, 12, 12)


def test_load__arrays_beside_files(make: Any) -> None:
    data = load((IMAGES, np.array(["cat", "dog"] * 3)), unlabeled=make("unlabeled", "1.png", "2.png"))
    assert data.rows.shape == (8, 3, 12, 12)
    assert data.names.tolist()[-1] == "unlabeled:2.png"


def test_load__dark_images_are_noted() -> None:
    assert load((IMAGES // 16, LABELS)).notes[0].startswith("the brightest pixel is 15 of 255; if that is meant to be")


def test_load__content_follows_pixels() -> None:
    changed = IMAGES.copy()
    changed[0, 0, 0, 0] ^= 1
    assert load((IMAGES, LABELS)).content == load((IMAGES.copy(), LABELS)).content
    assert load((IMAGES, LABELS)).content != load((changed, LABELS)).content


@pytest.mark.parametrize(
    ("images", "labels", "message"),
    [
        (IMAGES, LABELS[:5], r"labels have the shape \(5,\) for 6 rows; give one label a row, -1 for unlabeled"),
        (IMAGES, [1, "a", -1, 2, 3, 4], "labels are of type int, str; give all as text or all as whole numbers"),
        (IMAGES, [0.5, 1, 1, 1, 1, 1], "labels hold fractions, such as .*; a label is the name or number of a class"),
        (IMAGES.astype(float) * np.nan, LABELS, "images hold NaN or infinite values"),
        (np.full((6, 2), np.inf), LABELS, "vectors hold NaN or infinite values; fill in or leave out these rows"),
        (np.zeros((6, 8, 8, 5)), LABELS, r"images have the shape \(6, 8, 8, 5\); give n h w, n h w c or n c h w"),
        (np.zeros((6, 8, 8, 8, 3)), LABELS, r"the array has the shape \(6, 8, 8, 8, 3\); give images"),
        (np.zeros((0, 8, 8)), [], "the array of images is empty: its shape is"),
        ([IMAGES[0], IMAGES[1, :5]], [0, 1], "rows of different shapes cannot be one array"),
        (IMAGES.astype(str), LABELS, "images are of type <U3; give uint8, or floats from 0 to 1"),
        ({"a": 1}, None, "dict is not an array of numbers"),
    ],
)
def test_load__arrays_refused(images: Any, labels: Any, message: str) -> None:
    with pytest.raises(DataError, match=message):
        load((images, labels))


def test_load__vectors_refused() -> None:
    vectors = (np.zeros((6, 2)), LABELS)
    with pytest.raises(DataError, match="some sources hold images and others vectors; give one kind"):
        load(vectors, unlabeled=IMAGES)
    with pytest.raises(DataError, match="vectors have 3 and 2 entries; give one length"):
        load(vectors, unlabeled=np.zeros((1, 3)))
    with pytest.raises(DataError, match="size and channels are for images, but the rows given are vectors"):
        load(vectors, size=8)
    with pytest.raises(DataError, match="test images came without labels"):
        load(vectors, test=np.zeros((1, 2)))
    with pytest.raises(DataError, match="images cannot be read from int; give a path"):
        load(7)


def test_in_classes__relabels_or_names_the_unknown() -> None:
    data = load((IMAGES, ["b", "a", None, "a", "b", "b"]))
    assert data.in_classes(("c", "b", "a")).labels.tolist() == [1, 2, -1, 2, 1, 1]
    with pytest.raises(DataError, match=r"class 'b' is unknown to the model; .*allowed: a, c"):
        data.in_classes(("a", "c"))
