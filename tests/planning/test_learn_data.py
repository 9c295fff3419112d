"""`learn_data`: what the images are, from pixels and training labels alone."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
import pytest
import torch

from tests.planning.small import collected, even, sided, with_known
from understudy.planning.learn_data import _MAX_VALUES, _sampled, learn_data


def strokes(count: int) -> tuple[np.ndarray, np.ndarray]:
    """White lines on black."""
    random = np.random.default_rng(0)
    pixels = np.zeros((count, 1, 16, 16), np.uint8)
    for row, column in enumerate(random.integers(2, 14, count)):
        pixels[row, :, 2:14, column] = 255
    return pixels, np.arange(count) % 2


def test_learn_data__domain_by_what_is_in_the_pictures() -> None:
    photographs, few_channels = sided(60), sided(60)
    few_channels = few_channels[0][:, :1], few_channels[1]
    vectors = np.random.default_rng(0).normal(size=(60, 5)).astype(np.float32), np.arange(60) % 2
    found = {}
    for name, images in (("photos", photographs), ("gray", few_channels), ("pen", strokes(60)), ("rows", vectors)):
        learned = learn_data(*collected(images))
        found[name] = learned.domain.value
        assert learned.domain.how == "measured"
    assert found == {"photos": "natural", "gray": "gray", "pen": "digits", "rows": "vector"}


def test_learn_data__things_in_color_on_white_are_no_digits() -> None:
    pixels, labels = strokes(60)
    pixels = np.repeat(255 - pixels, 3, axis=1)
    pixels[:, 0] = 255  # the stroke is red
    assert learn_data(*collected((pixels, labels))).domain.value == "natural"


def test_learn_data__what_was_asked_stays() -> None:
    learned = learn_data(*collected(strokes(60)), {"domain": "gray"})
    assert (learned.domain.value, learned.domain.how) == ("gray", "asked")


def test_learn_data__auto_is_left_to_choose() -> None:
    assert learn_data(*collected(strokes(60)), {"domain": "auto"}).domain.value == "digits"


@pytest.mark.parametrize(("rare", "adjusted"), [(3, True), (30, False)])
def test_learn_data__unequal_classes_ask_for_adjustment(rare: int, adjusted: bool) -> None:
    pixels, labels = sided(120)
    kept = np.concatenate([np.flatnonzero(labels == 0), np.flatnonzero(labels == 1)[:rare]])
    learned = learn_data(*collected((pixels[kept], labels[kept]), test=even(20)))
    assert (learned.logit_adjustment is not None) == adjusted
    assert learned.figures["imbalance_ratio"] == pytest.approx(60 / rare)
    if learned.logit_adjustment is not None:
        assert learned.logit_adjustment.key == "method.criterion.logit_adjustment"
        assert "60 labels and the rarest 3, 20 times fewer" in learned.logit_adjustment.reason


def test_learn_data__figures_are_of_training_rows() -> None:
    collection, splits = collected(with_known(sided(80), 40), test=sided(20, seed=1))
    learned = learn_data(collection, splits)
    assert learned.figures["shape"] == [3, 16, 16]
    assert (learned.figures["num_labeled"], learned.figures["num_unlabeled"]) == (40, 40)
    assert learned.figures["fewest_labels_of_a_class"] == 20
    training = np.concatenate([splits.labeled, splits.unlabeled])
    expected = (collection.rows[training].float() / 255).mean((0, 2, 3))
    assert learned.figures["mean"] == pytest.approx(expected.tolist(), abs=1e-4)


def test_learn_data__no_label_of_a_test_image_is_read() -> None:
    collection, splits = collected(with_known(sided(80), 40), test=sided(20, seed=1))
    labels = collection.labels.copy()
    labels[splits.test] = 0
    other = dataclasses.replace(collection, labels=labels)
    assert learn_data(other, splits).figures == learn_data(collection, splits).figures


def test_learn_data__images_all_alike() -> None:
    """Nearly so, since pictures that are the same to the byte are refused on reading."""
    pixels = np.full((40, 3, 16, 16), 90, np.uint8)
    pixels[0] += 1
    learned = learn_data(*collected((pixels, np.arange(40) % 2)))
    assert learned.domain.value == "gray"
    assert learned.figures["std"] == pytest.approx([0.0], abs=1e-3)


def test_sampled__large_images_are_thinned_to_what_small_ones_hold() -> None:
    """A few million values tell the same as all pixels of 2,000 large images, which take half a minute."""
    collection: Any = type("Images", (), {"rows": torch.zeros(600, 3, 256, 256, dtype=torch.uint8)})()
    rows = _sampled(collection, np.arange(600))
    assert 200 <= len(rows) <= 510
    assert rows.numel() <= 1.5 * _MAX_VALUES
