"""Near copies: images that were one before one of them was compressed, resized, brightened or cropped a little.

A perceptual hash proposes pairs and errs on the side of too many; small color images confirm them.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from understudy.core.types import Ids, Observe
from understudy.data.copies import ALONE, first_of_each
from understudy.inspection.hamming import close_pairs
from understudy.inspection.scan import MIN_PX, Scan
from understudy.inspection.thumbnails import thumbnails

MAX_BITS, MAX_BITS_OF_MANY, MANY = 8, 6, 300_000
"""A crop of 5 % changes up to 8 bits in 9 of 10 images; compression, resizing and light change up to 4 in 99 of 100."""
MIN_SIMILARITY, MIN_FINE_SIMILARITY = 0.9, 0.72
_POINTS, _CELL = 16, 4
_MIN_SPAN = 20
_MEMBERS = 3
_REACH = 8
_PAIRS_AT_ONCE = 200_000


@dataclass(frozen=True, eq=False)
class NearDuplicates:
    """Pairs of different images that show the same picture.

    Args:
        first: The smaller row number of each pair, the likest pairs first. Of exact copies only the first row is here.
        second: The other row's number.
        similarity: Correlation of the two small images, in [0.9, 1].
        notes: What was not looked at, and why.
    """

    first: Ids
    second: Ids
    similarity: NDArray[np.float32]
    notes: tuple[str, ...] = ()

    def __len__(self) -> int:
        return len(self.first)


def near_duplicates(
    rows: Tensor, scanned: Scan, copies: Ids | None, *, observe: Observe | None = None
) -> NearDuplicates:
    """The near copies among uint8 images [n c h w].

    Two images are near copies when their hashes differ in at most 8 of 64 bits (6 among over 300,000 images, for the
    number of chance neighbors grows with the square), their 16 x 16 color thumbnails correlate by 0.9, and what is left
    of these without the mean of each 4 x 4 pixels by 0.72. The last is for smooth pictures: two small planes in front
    of one sky correlate by 0.9, and by 0.3 without the sky. Blank images are like all others and are not compared.

    Args:
        copies: Groups of exact copies, of which one each is compared.
        observe: Called with parts done and in all.
    """
    nothing = np.zeros(0, np.int64)
    if scanned.hashes is None:
        note = f"Near copies were not looked for: images of under {MIN_PX} px are too much alike to tell."
        return NearDuplicates(nothing, nothing, np.zeros(0, np.float32), (note,))
    usable = np.flatnonzero(scanned.span >= _MIN_SPAN)
    usable = first_of_each(copies, usable)
    order = usable[np.argsort(scanned.hashes[usable], kind="stable")]
    words, starts, counts = np.unique(scanned.hashes[order], return_index=True, return_counts=True)
    bits = MAX_BITS if len(usable) <= MANY else MAX_BITS_OF_MANY
    found = close_pairs(words, bits, observe=observe)
    pairs = np.concatenate([_within(order, starts, counts), _between(order, starts, counts, found.first, found.second)])
    pairs = np.unique(np.sort(pairs, axis=1), axis=0)
    similarity = np.concatenate(
        [np.zeros(0, np.float32)]
        + [_similarity(rows, pairs[at : at + _PAIRS_AT_ONCE]) for at in range(0, len(pairs), _PAIRS_AT_ONCE)]
    )
    kept = np.flatnonzero(similarity >= MIN_SIMILARITY)
    kept = kept[np.argsort(-similarity[kept], kind="stable")]
    return NearDuplicates(pairs[kept, 0], pairs[kept, 1], similarity[kept], _notes(len(usable), bits, found.num_capped))


def duplicate_groups(near: NearDuplicates, count: int, copies: Ids | None) -> Ids:
    """The number of each row's group of copies, exact or near, through however many others; -1 if alone.

    Args:
        count: Rows in all.
    """
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import connected_components

    first, second = near.first, near.second
    if copies is not None and (copies != ALONE).any():
        rows = np.flatnonzero(copies != ALONE)
        _, start, group = np.unique(copies[rows], return_index=True, return_inverse=True)
        first, second = np.concatenate([first, rows[start[group]]]), np.concatenate([second, rows])
    graph = coo_array((np.ones(len(first), np.int8), (first, second)), shape=(count, count))
    _, component = connected_components(graph, directed=False)
    sizes = np.bincount(component, minlength=1)
    grouped = sizes[component] > 1
    found = np.full(count, ALONE, np.int64)
    found[grouped] = np.unique(component[grouped], return_inverse=True)[1]
    return found


def _within(order: Ids, starts: Ids, counts: Ids) -> Ids:
    """Pairs of images of one hash: each with the next few, which links all of them if they are alike."""
    word = np.repeat(np.arange(len(starts)), counts)
    found = [np.zeros((0, 2), np.int64)]
    for distance in range(1, min(_REACH, len(order) - 1) + 1):
        at = np.flatnonzero(word[distance:] == word[:-distance])
        found.append(np.stack([order[at], order[at + distance]], 1))
    return np.concatenate(found)


def _between(order: Ids, starts: Ids, counts: Ids, first: Ids, second: Ids) -> Ids:
    """Pairs of images of two near hashes: the first few of each."""
    found = [np.zeros((0, 2), np.int64)]
    for one in range(_MEMBERS):
        for other in range(_MEMBERS):
            at = (one < counts[first]) & (other < counts[second])
            found.append(np.stack([order[starts[first[at]] + one], order[starts[second[at]] + other]], 1))
    return np.concatenate(found)


def _similarity(rows: Tensor, pairs: Ids) -> NDArray[np.float32]:
    """The correlation of the thumbnails of each pair, 0 where that of their details is too low."""
    ids, at = np.unique(pairs, return_inverse=True)
    at = at.reshape(pairs.shape)
    small = thumbnails(rows, ids, _POINTS)
    found = np.empty(len(pairs), np.float32)
    for start in range(0, len(pairs), 4096):
        one, two = (small[at[start : start + 4096, side]].astype(np.float32) for side in (0, 1))
        coarse = _correlation(one, two)
        fine = _correlation(_details(one), _details(two))
        found[start : start + 4096] = np.where(fine >= MIN_FINE_SIMILARITY, coarse, 0)
    return found


def _correlation(one: NDArray[np.float32], two: NDArray[np.float32]) -> NDArray[np.float32]:
    one, two = (part.reshape(len(part), -1) for part in (one, two))
    one, two = (part - part.mean(1, keepdims=True) for part in (one, two))
    scale = np.sqrt(np.einsum("nd,nd->n", one, one) * np.einsum("nd,nd->n", two, two))
    found: NDArray[np.float32] = np.einsum("nd,nd->n", one, two) / np.maximum(scale, 1e-6)
    return found


def _details(small: NDArray[np.float32]) -> NDArray[np.float32]:
    """The thumbnails without the mean of each of their cells."""
    cells = small.reshape(*small.shape[:2], _POINTS // _CELL, _CELL, _POINTS // _CELL, _CELL)
    found: NDArray[np.float32] = (cells - cells.mean((3, 5), keepdims=True)).reshape(small.shape)
    return found


def _notes(count: int, bits: int, num_capped: int) -> tuple[str, ...]:
    notes = []
    if bits < MAX_BITS:
        notes.append(
            f"Among {count:,} images near copies were searched for within {bits} instead of {MAX_BITS} bits of their "
            "hashes: compressed, resized and brightened ones are found, some that were cropped are not."
        )
    if num_capped:
        notes.append(
            f"{num_capped:,} images look like so many others that each was compared with a part of them; "
            "near copies among these may be missing."
        )
    return tuple(notes)
