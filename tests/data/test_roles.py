"""Validation images and several unlabeled sources, beside the training and test images."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch.utils.data import TensorDataset

from tests.data.conftest import Make, picture
from understudy.core.errors import DataError
from understudy.data.collection import Part
from understudy.data.load import load
from understudy.data.roles import sources_of
from understudy.data.split import split


def test_load__validation(make: Make) -> None:
    root = make("photos", *(f"{name}/{number}.png" for name in "ab" for number in range(3)), size=(17, 16))
    data = load(root, validation=make("val", "a/x.png", "b/y.png"), test=make("test", "b/z.png", size=(15, 16)))
    held = {str(name): Part(part) for name, part in zip(data.names, data.parts, strict=True) if part}
    assert held == {
        "test:b/z.png": Part.TEST,
        "validation:a/x.png": Part.VALIDATION,
        "validation:b/y.png": Part.VALIDATION,
    }
    found = split(data)
    assert data.names[found.validation].tolist() == ["validation:a/x.png", "validation:b/y.png"]
    assert data.names[found.test].tolist() == ["test:b/z.png"]
    assert len(found.labeled) == 6


def test_load__validation_of_a_source_with_splits_is_its_validation_part(make: Make) -> None:
    root = make("set", "train/a/1.png", "train/b/1.png", "val/a/1.png", "test/b/1.png")
    data = load(make("photos", "a/1.png", "b/2.png", "b/3.png"), validation=root)
    assert data.names[data.parts == Part.VALIDATION].tolist() == ["validation:val/a/1.png"]
    assert not (data.parts == Part.TEST).any()


@pytest.mark.parametrize("name", ["validation", "val", "valid"])
def test_load__validation_folder_beside_train(make: Make, name: str) -> None:
    data = load(make("set", "train/a/1.png", "train/b/1.png", f"{name}/a/1.png", "test/b/1.png"))
    assert data.names[data.parts == Part.VALIDATION].tolist() == [f"{name}/a/1.png"]


@pytest.mark.parametrize("role", ["validation", "test"])
def test_load__held_out_images_that_cannot_be(make: Make, tmp_path: Path, role: str) -> None:
    photos = make("photos", "a/1.png", "b/1.png")
    with pytest.raises(DataError, match=rf"2 files are both training and {role} images, such as 'a/1.png'; keep each"):
        load(photos, **{role: photos})
    with pytest.raises(DataError, match="test or validation images have labels that no training image has: 'cat'"):
        load(photos, **{role: make("cats", "cat/1.png")})
    whole = make("set", "train/a/1.png", "train/b/1.png", f"{role}/a/1.png")
    with pytest.raises(DataError, match=f"the training source holds {role} images of its own; leave out {role}="):
        load(whole, **{role: make("t", "a/1.png")})
    with pytest.raises(DataError, match=f"{role} images came without labels; give a pair of arrays"):
        load((np.zeros((2, 8, 8), np.uint8), [0, 1]), **{role: np.zeros((2, 8, 8), np.uint8)})
    manifest = tmp_path / "photos" / "model.csv"
    manifest.write_text("path,label,source\na/1.png,a,model\n", "utf-8")
    with pytest.raises(DataError, match=f"all labels of the {role} images come from a model"):
        load(whole if role == "none" else photos, **{role: manifest})


def test_load__files_that_validate_and_test(make: Make) -> None:
    held = make("held", "a/1.png", "b/1.png")
    with pytest.raises(DataError, match=r"2 files are both test and validation images, such as 'test:a/1.png'"):
        load(make("photos", "a/2.png", "b/2.png"), validation=held, test=held)


def test_split__copies_of_validation_images_do_not_train_and_those_of_test_images_do_not_select(make: Make) -> None:
    photos = make("photos", *(f"{name}/{number}.png" for name in "ab" for number in range(4)))
    val = make("val", *(f"a/{number}.png" for number in range(1)), *(f"b/{number}.png" for number in range(1)))
    # The first picture of every folder has the same pixels.
    test, pool = make("test", "a/0.png"), make("pool", "0.png", "1.png", "2.png")
    found = split(load(photos, validation=val, test=test, unlabeled=pool))
    assert (len(found.validation), len(found.test)) == (1, 1)
    assert (len(found.labeled), len(found.unlabeled)) == (6, 0)
    assert "1 copy of test images do not validate" in found.note


def test_load__several_unlabeled_sources(make: Make) -> None:
    photos = make("photos", "a/1.png", "b/1.png")
    pool = [make("one", "1.png", "2.png"), np.zeros((3, 16, 16, 3), np.uint8)]
    data = load(photos, unlabeled=[*pool, [picture(5)], TensorDataset(torch.zeros(2, 3, 16, 16))])
    pooled = data.names[2:].tolist()
    assert [name.split(":")[1] for name in pooled] == ["1"] * 2 + ["2"] * 3 + ["3"] + ["4"] * 2
    assert pooled[0] == "unlabeled:1:1.png"
    assert len(set(pooled)) == len(pooled)
    assert (data.labels[2:] == -1).all()


def test_load__several_unlabeled_sources_alone(make: Make) -> None:
    data = load(unlabeled=[make("one", "1.png"), make("two", "1.png")])
    assert data.names.tolist() == ["unlabeled:1:1.png", "unlabeled:2:1.png"]


def test_load__unlabeled_files_in_two_sources_count_once(make: Make, tmp_path: Path) -> None:
    make("", "pool/1.png", "pool/2.png")
    data = load(make("photos", "a/1.png", "b/1.png"), unlabeled=[tmp_path / "pool", str(tmp_path / "pool") + "/."])
    assert len(data) == 4
    assert "2 unlabeled files are also in an earlier unlabeled source, and count only there" in data.notes


def test_load__one_of_several_unlabeled_sources_is_missing(make: Make) -> None:
    with pytest.raises(DataError, match="'nowhere' is not there; name a folder"):
        load(make("photos", "a/1.png", "b/1.png"), unlabeled=[make("one", "1.png"), "nowhere"])


def test_load__several_unlabeled_sources_of_vectors() -> None:
    rows = np.random.default_rng(0).normal(size=(9, 5)).astype(np.float32)
    data = load((rows[:4], [0, 1, 0, 1]), unlabeled=[rows[4:6], rows[6:]])
    assert len(data) == 9
    np.testing.assert_allclose(data.rows.numpy(), rows)


@pytest.mark.parametrize(
    ("unlabeled", "vectors", "count"),
    [
        ([np.zeros((8, 8)), np.zeros((8, 8))], False, 1),
        ([np.zeros((8, 8)), np.zeros((8, 8))], True, 2),
        ([np.zeros((8, 8, 3)), np.zeros((8, 8, 3))], False, 1),
        ([np.zeros((20, 8, 8)), np.zeros((30, 8, 8))], False, 2),
        ([np.zeros((20, 3, 8, 8)), torch.zeros(30, 3, 8, 8)], False, 2),
        ([Image.new("L", (4, 4)), Image.new("L", (4, 4))], False, 1),
        (["a.png", "b.png"], False, 1),
        ([("a.png", 0), ("b.png", 1)], False, 1),
        ((np.zeros((20, 8, 8)), np.zeros(20)), False, 1),
        ([(np.zeros((20, 8, 8)), np.zeros(20)), "digits"], False, 2),
        (["digits"], False, 1),
        ([], False, 1),
    ],
)
def test_sources_of__list_of_images_or_of_sources(unlabeled: Any, vectors: bool, count: int) -> None:
    assert len(sources_of(unlabeled, vectors=vectors, is_alone=False)) == count


def test_load__nested_tensors_among_unlabeled_sources() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # nested tensors are a prototype
        nested = torch.nested.nested_tensor([torch.ones(1, 8, 8), torch.ones(1, 8, 4)])
    with pytest.raises(DataError):
        load((np.zeros((4, 1, 8, 8), np.uint8), [0, 1, 0, 1]), unlabeled=[nested, nested])
