"""Every pair within so many bits that comparing all with all finds, and never one that is not."""

from __future__ import annotations

import time

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from understudy.inspection.hamming import close_pairs


def all_pairs(words: np.ndarray, bits: int) -> set[tuple[int, int]]:
    near = np.bitwise_count(words[:, None] ^ words[None]) <= bits
    return {(int(one), int(other)) for one, other in np.argwhere(np.triu(near, 1))}


def clustered(seed: int, count: int, flips: int) -> np.ndarray:
    """Distinct ascending words, most of which are others with a few bits turned."""
    random = np.random.default_rng(seed)
    words = random.integers(0, 1 << 64, count, np.uint64)
    for _ in range(flips):
        at = random.integers(0, len(words), count // 2)
        words[at] = words[random.integers(0, len(words), len(at))] ^ (
            np.uint64(1) << random.integers(0, 64, len(at), np.uint64)
        )
    return np.unique(words)


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 2**32), st.integers(1, 10), st.integers(0, 12), st.integers(1, 200))
def test_close_pairs__as_comparing_all(seed: int, bits: int, flips: int, count: int) -> None:
    words = clustered(seed, count, flips)
    found = close_pairs(words, bits, max_neighbors=1000)
    pairs = list(zip(found.first.tolist(), found.second.tolist(), strict=True))
    assert len(set(pairs)) == len(pairs)
    assert set(pairs) == all_pairs(words, bits)
    assert found.num_capped == 0


@pytest.mark.parametrize("bits", [2, 8])
def test_close_pairs__bits_anywhere(bits: int) -> None:
    random = np.random.default_rng(bits)
    word = random.integers(0, 1 << 64, dtype=np.uint64)
    for _ in range(100):
        turned = np.uint64(sum(1 << int(at) for at in random.choice(64, bits + 1, replace=False)))
        one_less = turned & (turned - np.uint64(1))
        assert len(close_pairs(np.unique(np.array([word, word ^ one_less])), bits).first) == 1
        assert len(close_pairs(np.unique(np.array([word, word ^ turned])), bits).first) == 0


def test_close_pairs__very_many_alike_are_capped_and_counted() -> None:
    words = np.arange(1 << 14, dtype=np.uint64)
    start = time.process_time()
    found = close_pairs(words, 4, max_neighbors=16)
    assert time.process_time() - start < 20
    assert found.num_capped > 10_000
    assert np.bitwise_count(words[found.first] ^ words[found.second]).max() <= 4


def test_close_pairs__max_pairs() -> None:
    words = np.arange(1 << 10, dtype=np.uint64)
    found = close_pairs(words, 8, max_neighbors=2000, max_pairs=100)
    assert found.num_capped > 0
    assert len(found.first) < len(all_pairs(words, 8))


@pytest.mark.parametrize("count", [0, 1])
def test_close_pairs__nothing_to_compare(count: int) -> None:
    assert len(close_pairs(np.zeros(count, np.uint64), 8).first) == 0
