"""Copies that were changed on their way are found among many images, and different images never are."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
import torch
from PIL import Image

from tests.inspection.made import CHANGES, SIDE, photo, rows_of
from understudy.data.copies import exact_copies
from understudy.inspection import near_duplicates as near_module
from understudy.inspection.near_duplicates import NearDuplicates, duplicate_groups, near_duplicates
from understudy.inspection.scan import scan

MANY = [photo(seed) for seed in range(400)]


def found(images: list[Image.Image]) -> tuple[set[tuple[int, int]], NearDuplicates]:
    rows = rows_of(images)
    result = near_duplicates(rows, scan(rows), exact_copies(rows))
    return set(zip(result.first.tolist(), result.second.tolist(), strict=True)), result


def test_near_duplicates__none_among_different_images() -> None:
    assert found(MANY)[0] == set()


@pytest.mark.parametrize("change", list(CHANGES))
def test_near_duplicates__planted(change: str) -> None:
    pairs, result = found([*MANY, *(CHANGES[change](image) for image in MANY[:50])])
    expected = {(at, 400 + at) for at in range(50)}
    assert pairs <= expected
    assert len(pairs) >= 49
    assert (np.diff(result.similarity) <= 0).all()
    assert result.similarity.min() >= 0.9
    assert result.notes == ()


def test_near_duplicates__small_things_on_one_sky_are_different() -> None:
    images = []
    for seed, (top, left) in enumerate(itertools.product(range(10, SIDE - 20, 5), repeat=2)):
        random = np.random.default_rng(seed)
        y = np.mgrid[:SIDE, :SIDE][0]
        pixels = np.stack([90 + y, 130 + y, 200 + 0 * y], -1).astype(np.uint8)
        pixels[top : top + 4, left : left + 9] = 20
        pixels[top - 4 : top + 8, left + 4 : left + 6] = random.integers(0, 60)
        images.append(Image.fromarray(pixels))
    assert found(images)[0] == set()
    pairs = np.array(list(itertools.combinations(range(len(images)), 2)))
    small = near_module.thumbnails(rows_of(images), np.arange(len(images)), 16).astype(np.float32)
    alike = near_module._correlation(small[pairs[:, 0]], small[pairs[:, 1]]) >= 0.9
    assert alike.sum() > 5  # which the sky alone makes so
    assert near_module._similarity(rows_of(images), pairs).max() < 0.9


def test_near_duplicates__blank_images_are_not_compared() -> None:
    blank = [Image.fromarray(np.full((SIDE, SIDE, 3), 100 + at % 9, np.uint8)) for at in range(300)]
    faint = np.repeat((np.mgrid[:SIDE, :SIDE][1] // 4)[..., None], 3, -1).astype(np.uint8)
    blank += [Image.fromarray(faint + np.uint8(level)) for level in range(40, 60)]
    assert found([*blank, *MANY[:20]])[0] == set()


def test_near_duplicates__of_exact_copies_the_first_counts() -> None:
    pairs, _ = found([*MANY[:30], MANY[4], CHANGES["jpeg 60"](MANY[4]), CHANGES["jpeg 60"](MANY[4])])
    assert pairs == {(4, 31)}


def test_near_duplicates__hundreds_of_one_hash_are_linked() -> None:
    random = np.random.default_rng(0)
    base = np.asarray(MANY[0]).astype(int)
    noisy = [(base + random.integers(-1, 2, base.shape)).clip(0, 255).astype(np.uint8) for _ in range(300)]
    images = [Image.fromarray(pixels) for pixels in noisy]
    rows = rows_of([*images, *MANY[1:50]])
    copies = exact_copies(rows)
    groups = duplicate_groups(near_duplicates(rows, scan(rows), copies), len(rows), copies)
    assert len(set(groups[:300].tolist())) == 1
    assert groups[0] >= 0
    assert (groups[300:] == -1).all()


def test_near_duplicates__too_small_to_tell() -> None:
    rows = torch.zeros(4, 1, 8, 8, dtype=torch.uint8)
    result = near_duplicates(rows, scan(rows), None)
    assert len(result) == 0
    assert result.notes == ("Near copies were not searched for: images of under 16 px are too similar to tell apart.",)


def test_near_duplicates__among_many_images_fewer_bits_are_allowed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(near_module, "MANY", 100)
    pairs, result = found([*MANY, CHANGES["jpeg 30"](MANY[7])])
    assert pairs == {(7, 400)}
    assert result.notes[0].startswith(
        "Among 401 images near copies were searched for within 6 instead of 8 bits of their hashes"
    )


def test_near_duplicates__capped_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    original = near_module.close_pairs
    monkeypatch.setattr(near_module, "close_pairs", lambda words, bits, observe: original(words, bits, max_pairs=0))
    _, result = found([*MANY[:50], *(CHANGES["jpeg 30"](image) for image in MANY[:50])])
    assert "images resemble so many others that each was compared with only some of them" in result.notes[0]


def test_duplicate_groups__through_exact_and_near_copies() -> None:
    near = NearDuplicates(np.array([0, 5]), np.array([1, 6]), np.ones(2, np.float32))
    copies = np.array([-1, 0, 0, -1, -1, 1, -1, 1])
    assert duplicate_groups(near, 8, copies).tolist() == [0, 0, 0, -1, -1, 1, 1, 1]
    assert duplicate_groups(near, 8, None).tolist() == [0, 0, -1, -1, -1, 1, 1, -1]
