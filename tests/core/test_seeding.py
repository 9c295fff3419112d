"""Draws depend on their key alone, and every epoch of a shuffle holds every item once, at any position."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import chisquare, kstest

from understudy.core.seeding import Shuffle, generator, key, seed_torch, uniforms

SIZES = [1, 2, 3, 4, 5, 7, 8, 9, 16, 17, 40, 255, 256, 257, 1000, 4097]


def test_key__tells_parts_apart() -> None:
    keys = [key("a", 1), key("a", "1"), key("a1"), key("a", 1, ""), key(1, "a"), key("a", -1)]
    assert len(set(keys)) == len(keys)
    assert key("a", 1) == key("a", 1) < 2**128


def test_uniforms__repeat_by_key_and_are_uniform() -> None:
    drawn = uniforms((5000, 2), "view", 0, 7)
    assert drawn.dtype == np.float32
    assert np.array_equal(drawn, uniforms((5000, 2), "view", 0, 7))
    assert not np.array_equal(drawn, uniforms((5000, 2), "view", 0, 8))
    assert drawn.min() >= 0
    assert drawn.max() < 1
    assert kstest(drawn.ravel(), "uniform").pvalue > 1e-3
    assert abs(np.corrcoef(drawn.T)[0, 1]) < 0.05


def test_seed_torch__decides_what_dropout_draws() -> None:
    seed_torch("step", 0, 1)
    one = torch.rand(5)
    seed_torch("step", 0, 1)
    assert torch.equal(one, torch.rand(5))
    seed_torch("step", 0, 2)
    assert not torch.equal(one, torch.rand(5))


@pytest.mark.parametrize("size", SIZES)
def test_shuffle__every_epoch_is_a_permutation(size: int) -> None:
    epochs = Shuffle(size, "labeled", 0).take(0, 3 * size).reshape(3, size)
    assert np.array_equal(np.sort(epochs, axis=1), np.tile(np.arange(size), (3, 1)))
    if size > 16:
        assert not np.array_equal(epochs[0], epochs[1])
        assert not np.array_equal(epochs[0], np.arange(size))
        assert not np.array_equal(epochs[0], Shuffle(size, "labeled", 1).take(0, size))


@given(
    size=st.integers(1, 300), starts=st.lists(st.integers(0, 50_000), min_size=1, max_size=4), count=st.integers(0, 70)
)
def test_shuffle__any_position_reads_as_in_sequence(size: int, starts: list[int], count: int) -> None:
    shuffle = Shuffle(size, "unlabeled", 3)
    for start in starts:
        one_by_one = [Shuffle(size, "unlabeled", 3).take(start + offset, 1)[0] for offset in range(0, count, 23)]
        assert shuffle.take(start, count)[::23].tolist() == one_by_one


def test_shuffle__a_request_larger_than_a_block() -> None:
    shuffle = Shuffle(500, "x")
    whole = shuffle.take(100, 3 * Shuffle._BLOCK)
    parts = [Shuffle(500, "x").take(100 + at, 64) for at in range(0, 3 * Shuffle._BLOCK, 64)]
    assert np.array_equal(whole, np.concatenate(parts))


@pytest.mark.parametrize("size", [3, 10, 36])
def test_shuffle__no_item_has_a_favourite_place(size: int) -> None:
    epochs = Shuffle(size, "x").take(0, 2000 * size).reshape(-1, size)
    for place in (0, size // 2, size - 1):
        assert chisquare(np.bincount(epochs[:, place], minlength=size)).pvalue > 1e-4


def test_uniforms__are_what_a_fresh_generator_gives() -> None:
    for parts in (("weak", 0, 3), ("strong", 7), ("weak", 0, 3)):
        assert np.array_equal(uniforms((5, 3), *parts), generator(*parts).random((5, 3), np.float32))
