"""`understudy.split`: the division as an object, of files and of arrays."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

import understudy as us
from tests.cli.conftest import draw_folder


def test_split__arrays_are_divided_and_cannot_be_listed(tmp_path: Path) -> None:
    images = np.random.default_rng(0).integers(0, 255, (40, 8, 8), dtype=np.uint8)
    labels = np.repeat([0, 1], 20)
    division = us.split((images, labels), test=0.25, validation=0, quiet=True)
    assert division.per_class() == {"train": {"0": 15, "1": 15}, "test": {"0": 5, "1": 5}}
    assert division.summary() == "40 images: 30 train, 10 test"
    again = us.split((images, labels), test=0.25, validation=0, quiet=True)
    other = us.split((images, labels), test=0.25, validation=0, seed=1, quiet=True)
    assert division.splits.tolist() == again.splits.tolist() != other.splits.tolist()
    with pytest.raises(us.UserError, match=r"^a manifest lists files, and these images were given in memory; take"):
        division.save(tmp_path / "split.csv")
    assert repr(division) == "Division: 40 images: 30 train, 10 test"


def test_split__manifest_is_what_train_reads(tmp_path: Path) -> None:
    photos = draw_folder(tmp_path / "photos", 10)
    division = us.split(photos, quiet=True)
    assert division.summary() == "20 images: 14 train, 2 validation, 4 test"
    path = division.save(tmp_path / "split.csv")
    assert us.load(path).parts.tolist().count(3) == 4


@pytest.mark.parametrize(
    ("shares", "sentence"),
    [
        ({"test": True}, "test is True; give a share from 0 to 1, such as 0.2"),
        ({"validation": "many"}, "validation is 'many'; give a share from 0 to 1"),
        ({"test": 0.95}, "validation 0.1 and test 0.95 leave no image to train on"),
        ({"test": 0, "validation": 0}, "validation and test are both 0, so there is nothing to split"),
        ({"seed": -1}, "seed is -1"),
    ],
)
def test_split__refuses(shares: dict[str, object], sentence: str) -> None:
    with pytest.raises(us.UserError, match=sentence):
        us.split("digits", **shares, quiet=True)
