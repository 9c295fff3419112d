"""Pairs of 64-bit words that differ in few bits, found among millions without comparing all pairs.

Words that differ in at most k bits agree in whole blocks of bits, so sorting by blocks brings them together.

Manku, Jain and Das Sarma (2007, https://doi.org/10.1145/1242572.1242592), section 3. Cut into k + r blocks, two words
within k bits agree in at least r of them; for each choice of r blocks one sort puts equal ones side by side.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import combinations, pairwise
from math import comb

import numpy as np
from numpy.typing import NDArray

from understudy.core.types import Ids, Observe

Words = NDArray[np.uint64]

_AGREEING = (
    3  # r: with k = 8 there are 165 sorts by keys of 17 bits; r = 2 would share longer lists, r = 4 sort 495 times
)
_MAX_NEIGHBORS = 512  # bounds the time where very many words share blocks, as flat images do
_MAX_PAIRS = 20_000_000  # 320 MB of words


@dataclass(frozen=True, eq=False)
class WordPairs:
    """Pairs of different words.

    Args:
        first: Position of the smaller word of each pair, in the words given.
        second: Position of the other word.
        num_capped: Words compared with only some of those that share blocks with them, because there are too many;
            0 means that every pair within the bits was found.
    """

    first: Ids
    second: Ids
    num_capped: int


def close_pairs(
    words: Words,
    bits: int,
    *,
    max_neighbors: int = _MAX_NEIGHBORS,
    max_pairs: int = _MAX_PAIRS,
    observe: Observe | None = None,
) -> WordPairs:
    """All pairs of words that differ in at most `bits` bits.

    Args:
        words: Distinct and ascending.
        max_neighbors: Words sharing blocks that each word is compared with, nearest in sorted order first; keeps the
            cost linear where very many words are similar.
        max_pairs: Pairs to keep, those found first.
    """
    blocks = _blocks(bits + _AGREEING)
    total = comb(len(blocks), _AGREEING)
    pairs_found: list[Words] = []
    num_found, capped = 0, np.zeros(0, np.uint64)
    for done, chosen in enumerate(combinations(range(len(blocks)), _AGREEING), 1):
        order = [*chosen, *(at for at in range(len(blocks)) if at not in chosen)]
        moved = _moved(words, [blocks[at] for at in order])
        moved.sort()
        key_bits = sum(blocks[at][1] for at in chosen)
        over, pairs = _neighbors(moved, key_bits, bits, max_neighbors)
        back = _back([blocks[at] for at in order])
        if len(over):
            capped = np.union1d(capped, _moved(over, back))
        if len(pairs) and num_found < max_pairs:
            both = np.sort(_moved(pairs.ravel(), back).reshape(-1, 2), axis=1)
            # Several sorts may find the same pair; only the first one keeps it.
            pairs_found.append(both[_first_agreement(both, blocks) == done - 1])
            num_found += len(pairs_found[-1])
        elif len(pairs):
            capped = np.union1d(capped, _moved(pairs.ravel(), back))
        if observe is not None:
            observe(done, total)
    both = np.concatenate([np.zeros((0, 2), np.uint64), *pairs_found])
    at = np.searchsorted(words, both)
    at = at[np.lexsort((at[:, 1], at[:, 0]))]
    return WordPairs(at[:, 0], at[:, 1], len(capped))


Block = tuple[int, int]
"""The lowest bit of a block, and its number of bits."""


def _blocks(count: int) -> list[Block]:
    edges = [64 * at // count for at in range(count + 1)]
    return [(low, high - low) for low, high in pairwise(edges)]


def _moved(words: Words, blocks: list[Block]) -> Words:
    """The words with their blocks in this order, the first in the highest bits."""
    result = np.zeros_like(words)
    for low, length in blocks:
        mask = np.uint64((1 << length) - 1)
        result = (result << np.uint64(length)) | ((words >> np.uint64(low)) & mask)
    return result


def _back(blocks: list[Block]) -> list[Block]:
    """The blocks that undo `_moved`: the present place of each, the originally highest first."""
    places, top = {}, 64
    for low, length in blocks:
        top -= length
        places[low] = (top, length)
    return [places[low] for low in sorted(places, reverse=True)]


def _neighbors(words: Words, key_bits: int, bits: int, most: int) -> tuple[Words, NDArray[np.uint64]]:
    """Sorted words with too many neighbors of the same key, and pairs [p 2] with the same key within the bits."""
    keys = words >> np.uint64(64 - key_bits)
    at = np.flatnonzero(keys[1:] == keys[:-1])
    pairs = []
    for distance in range(1, most + 1):
        if not len(at):
            break
        near = np.bitwise_count(words[at] ^ words[at + distance]) <= bits
        pairs.append(np.stack([words[at[near]], words[at[near] + distance]], 1))
        at = at[at + distance + 1 < len(words)]
        at = at[keys[at] == keys[at + distance + 1]]
    over = words[at]
    return over, np.concatenate([np.zeros((0, 2), np.uint64), *pairs])


def _first_agreement(pairs: NDArray[np.uint64], blocks: list[Block]) -> Ids:
    """The index of the first choice of blocks in which both words of each pair agree."""
    differ = pairs[:, 0] ^ pairs[:, 1]
    agree = np.stack([(differ >> np.uint64(low)) & np.uint64((1 << length) - 1) == 0 for low, length in blocks], 1)
    # Choices come in lexicographic order, so the first one is that of the lowest blocks that agree.
    lowest = np.argsort(~agree, axis=1, kind="stable")[:, :_AGREEING]
    lookup = np.full((len(blocks),) * _AGREEING, -1)
    for number, chosen in enumerate(_choices(len(blocks))):
        lookup[chosen] = number
    result: Ids = lookup[tuple(lowest.T)]
    return result


def _choices(count: int) -> Iterator[tuple[int, ...]]:
    return combinations(range(count), _AGREEING)
