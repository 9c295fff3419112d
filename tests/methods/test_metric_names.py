"""Figures of methods in words."""

from __future__ import annotations

import pytest

from understudy.methods.metric_names import metric_words


@pytest.mark.parametrize(
    ("name", "value", "words"),
    [
        ("mask_ratio", 0.07, "7 % of the unlabeled images used"),
        ("threshold", 0.95, "confidence threshold 0.95"),
        ("generated_spread", 0.5, "spread of generated over real images 0.50"),
        ("my_own_figure", 1.234, "my own figure 1.23"),
    ],
)
def test_metric_words__no_internal_name(name: str, value: float, words: str) -> None:
    assert metric_words(name, value) == words
