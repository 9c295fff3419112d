"""Planted flaws are found, whole collections that are dark, soft or gray by nature are left in peace."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from PIL import Image, ImageFilter
from sklearn.datasets import load_digits

from tests.inspection.made import FLAWED, SIDE, photo, rows_of
from understudy.inspection import scan as scan_module
from understudy.inspection.quality import QUALITY_KINDS, flaws
from understudy.inspection.scan import scan

CLEAN = [photo(seed) for seed in range(60)]


def found(images: list[Image.Image], sizes: np.ndarray | None = None) -> dict[str, list[int]]:
    result = flaws(scan(rows_of(images)), sizes, images[0].width)
    assert tuple(result) == QUALITY_KINDS
    return {kind: rows.tolist() for kind, rows in result.items() if len(rows)}


def test_flaws__none_in_clean_images() -> None:
    assert found(CLEAN) == {}


@pytest.mark.parametrize("kind", list(FLAWED))
def test_flaws__planted(kind: str) -> None:
    images = [*CLEAN, FLAWED[kind](photo(100)), FLAWED[kind](photo(101))]
    assert {name: sorted(rows) for name, rows in found(images).items()} == {kind: [60, 61]}


def test_flaws__worst_first() -> None:
    images = [*CLEAN, *(photo(200).filter(ImageFilter.GaussianBlur(blur)) for blur in (2, 4, 3))]
    assert found(images)["blurry"] == [61, 62, 60]


@pytest.mark.parametrize("kind", ["dark", "overexposed", "blurry", "gray"])
def test_flaws__what_all_have_is_no_flaw(kind: str) -> None:
    assert kind not in found([FLAWED[kind](image) for image in CLEAN])


def test_flaws__digits_have_none() -> None:
    pixels = np.round(load_digits().images * (255 / 16)).astype(np.uint8)[:, None]
    for rows in (pixels, 255 - pixels, pixels.repeat(4, 2).repeat(4, 3)):
        result = flaws(scan(torch.from_numpy(np.ascontiguousarray(rows))), None, rows.shape[-1])
        assert {kind: len(one) for kind, one in result.items() if len(one)} == {}


def test_flaws__a_smooth_sky_is_not_blurred() -> None:
    y = np.mgrid[:SIDE, :SIDE][0]
    pixels = np.repeat((120 + y)[..., None], 3, -1).astype(np.uint8)
    pixels[20:24, 10:40] = 30
    assert "blurry" not in found([*CLEAN, Image.fromarray(pixels)])


def test_flaws__odd_sizes() -> None:
    sizes = np.full((60, 2), (640, 480), np.int32)
    sizes[3], sizes[5], sizes[7], sizes[9] = (20, 16), (2000, 300), (300, 640), (0, 0)
    assert found(CLEAN, sizes) == {"tiny": [3], "elongated": [5]}
    assert found(CLEAN, np.full((60, 2), (2000, 300), np.int32)) == {}
    assert found(CLEAN, np.full((60, 2), (24, 20), np.int32)) == {}


def test_scan__as_by_hand(monkeypatch: pytest.MonkeyPatch) -> None:
    rows = rows_of(CLEAN[:10])
    whole = scan(rows)
    monkeypatch.setattr(scan_module, "_CHUNK_PIXELS", SIDE * SIDE * 3)
    calls: list[tuple[int, int]] = []
    parts = scan(rows, observe=lambda done, total: calls.append((done, total)))
    assert calls == [(3, 10), (6, 10), (9, 10), (10, 10)]
    pixels = rows.numpy().astype(np.float64)
    gray = pixels.transpose(0, 2, 3, 1) @ (0.299, 0.587, 0.114)
    assert whole.hashes is not None
    assert parts.hashes is not None
    for one in (whole, parts):
        np.testing.assert_allclose(one.brightness, gray.mean((1, 2)), rtol=1e-4)
        np.testing.assert_allclose(one.contrast, gray.std((1, 2)), rtol=1e-3)
        np.testing.assert_allclose(one.span, np.ptp(gray, axis=(1, 2)), rtol=1e-4)
        np.testing.assert_allclose(one.channel_means, pixels.mean((0, 2, 3)), rtol=1e-5)
        np.testing.assert_allclose(one.channel_stds, pixels.std((0, 2, 3)), rtol=1e-4)
    assert whole.hashes.tolist() == parts.hashes.tolist()


@pytest.mark.parametrize("blur", [1.0, 2.0, 3.0])
def test_scan__edge_is_as_wide_as_the_blur(blur: float) -> None:
    pixels = np.zeros((64, 64, 3), np.uint8)
    pixels[:, 32:] = 200
    image = Image.fromarray(pixels).filter(ImageFilter.GaussianBlur(blur))
    assert scan(rows_of([image])).edge_px[0] == pytest.approx(blur, rel=0.25)


def test_scan__no_edge_and_one_channel() -> None:
    rows = torch.full((3, 1, 8, 8), 9, dtype=torch.uint8)
    result = scan(rows)
    assert np.isinf(result.edge_px).all()
    assert result.hashes is None
    assert result.color.tolist() == [0, 0, 0]
