"""Features without labels: images of one class are near, equal seeds give equal features, and any collection works."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from understudy.data.collection import Collection
from understudy.data.load import load
from understudy.evaluation.probes import knn_accuracy
from understudy.inspection.embedding import embed, unit
from understudy.models import build
from understudy.models.heads import logits_and_features


def _images(rows: np.ndarray) -> Collection:
    return load((rows, np.full(len(rows), -1)))


@pytest.fixture(scope="module")
def digits() -> Collection:
    return load("digits")


def test_embed__digits_are_nearer_to_their_class_than_by_pixels(digits: Collection) -> None:
    ids = np.arange(600)
    found = embed(digits, ids)
    pixels = digits.rows[:600].flatten(1).numpy().astype(np.float32)
    ours, raw = (knn_accuracy(unit(x - x.mean(0)), digits.labels[:600], num_neighbors=3) for x in (found, pixels))
    assert found.dtype == np.float32
    assert ours > raw - 0.01
    assert ours > 0.95


def test_embed__depends_on_the_seed_and_on_nothing_else(digits: Collection) -> None:
    ids = np.arange(100)
    first, again, other = embed(digits, ids), embed(digits, ids), embed(digits, ids, seed=1)
    assert np.array_equal(first, again)
    assert not np.allclose(first, other)


def test_embed__rows_are_those_asked_for(digits: Collection) -> None:
    """Beyond one chunk, in any order; those of a permuted list are the permuted ones up to the fit."""
    ids = np.arange(300)[::-1].copy()
    seen: list[tuple[int, int]] = []
    found = embed(digits, ids, network=None, observe=lambda done, total: seen.append((done, total)))
    copies = _images(np.repeat(digits.rows.numpy()[:50], 4, axis=0))
    same = unit(embed(copies, np.arange(200))).reshape(50, 4, -1)
    assert len(found) == 300
    assert seen[-1] == (300, 300)
    assert np.allclose(same, same[:, :1], atol=1e-5)
    distances = np.linalg.norm(same[:, None, 0] - same[None, :, 0], axis=-1) + np.eye(50)
    assert distances.min() > 0.05


@pytest.mark.parametrize("shape", [(1, 1, 8, 8), (2, 3, 32, 32), (5, 1, 16, 16), (3, 3, 100, 100)])
def test_embed__few_images_of_any_size(shape: tuple[int, ...]) -> None:
    rows = np.random.default_rng(0).integers(0, 256, shape).astype(np.uint8)
    found = embed(_images(rows), np.arange(len(rows)))
    assert found.shape[0] == len(rows)
    assert np.isfinite(found).all()


def test_embed__blank_images_are_finite_and_alike() -> None:
    rows = np.random.default_rng(0).integers(0, 256, (20, 3, 16, 16)).astype(np.uint8)
    rows[:3], rows[3:5] = 0, 255
    found = embed(_images(rows), np.arange(20))
    assert np.isfinite(found).all()
    assert np.allclose(found[:3], found[0], atol=1e-5)


def test_embed__vectors_are_standardized() -> None:
    rows = np.random.default_rng(0).normal(3, 5, (50, 4)).astype(np.float32)
    rows[:, 2] = 7
    found = embed(load((rows, np.full(50, -1))), np.arange(50))
    assert np.allclose(found.mean(0), 0, atol=1e-5)
    assert np.allclose(found.std(0), [1, 1, 0, 1], atol=1e-5)


def test_embed__of_a_network_are_the_input_of_its_head(digits: Collection) -> None:
    torch.manual_seed(0)
    network = build("resnet_small", shape=digits.shape, num_classes=10).eval()
    found = embed(digits, np.arange(5), network=network)
    with torch.no_grad():
        expected = logits_and_features(network, digits.rows[:5].float() / 255)[1]
    assert np.allclose(found, expected.numpy(), atol=1e-4)


def test_embed__of_nothing() -> None:
    assert len(embed(load("digits"), np.zeros(0, np.int64))) == 0
