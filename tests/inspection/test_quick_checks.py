"""How training handles copies by itself: it reports them, and no held-out image was trained on."""

from __future__ import annotations

import numpy as np
import pytest

import understudy
from tests.inspection.made import CHANGES, photo
from understudy.core.errors import DataError

OPTIONS = {"network": "cnn", "budget": "4steps", "size": 16, "plan": False}


def pixels(*seeds: int) -> np.ndarray:
    return np.stack([np.asarray(photo(seed, 16)) for seed in seeds])


def test_train__warns_by_quick_checks_and_keeps_copies_of_test_images_out() -> None:
    labeled, test = [*range(23), 5], [*range(100, 108), 20]
    result = understudy.train(
        (pixels(*labeled), [0, 1] * 12),
        unlabeled=pixels(*range(200, 230), 100, 101, 3),
        test=(pixels(*test), [0, 1] * 4 + [0]),
        **OPTIONS,
    )
    assert "5 images are exact copies of others; understudy audit shows them" in result.notes
    assert any("3 copies of them do not train (2 of them in the pool)" in note for note in result.notes)
    assert any("1 copy of labeled images is left out of the pool" in note for note in result.notes)
    assert len(result.splits.labeled) == 23
    assert len(result.splits.unlabeled) == 30
    assert 20 not in result.splits.labeled


def test_train__a_pool_of_nothing_but_test_images_is_no_pool() -> None:
    result = understudy.train(
        (pixels(*range(20)), [0, 1] * 10),
        unlabeled=pixels(*range(100, 108)),
        test=(pixels(*range(100, 108)), [0, 1] * 4),
        method="fixmatch",
        **OPTIONS,
    )
    assert list(result.runs) == ["supervised"]
    assert any("of 8 unlabeled images none is left to train on" in note for note in result.notes)
    assert any("so the supervised model alone is trained" in note for note in result.notes)


def test_train__one_picture_is_refused() -> None:
    with pytest.raises(DataError, match="all 20 images are the same picture, byte for byte, and teach nothing"):
        understudy.train((np.repeat(pixels(0), 20, 0), [0, 1] * 10), **OPTIONS)


def test_train__changed_copies_are_for_the_audit() -> None:
    """They are not byte-identical, so training alone does not know them."""
    images = [photo(seed, 32) for seed in range(20)]
    rows = np.stack([np.asarray(image) for image in [*images, CHANGES["jpeg 60"](images[0])]])
    found = understudy.audit((rows, [0, 1] * 10 + [0]), features=False)
    assert [one.kind for one in found.findings] == ["near_copies"]
