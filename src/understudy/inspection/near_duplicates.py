"""Near duplicates: copies of one image that were compressed, resized, brightened or cropped a little.

A perceptual hash proposes pairs, too many rather than too few; color thumbnails confirm them.
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
MIN_SIMILARITY, MIN_FINE_SIMILARITY = 0.9, 0.72  # of thumbnails and of their details; see `near_duplicates`
_POINTS, _CELL = 16, 4  # side of a thumbnail, and of the squares whose mean its details leave out; see there
_MIN_SPAN = 20  # levels of 255: an image with less contrast is blank (quality.py) and resembles every other blank one
_MEMBERS = 3  # of each hash in a pair of similar hashes: linking a few links the groups, at 9 comparisons at most
_REACH = 8  # successors that an image is compared with among equal hashes: the cost stays linear in the group
_PAIRS_AT_ONCE, _THUMBNAILS_AT_ONCE = 200_000, 4096  # bound the memory: 300 MB of thumbnails, 25 MB of floats


@dataclass(frozen=True, eq=False)
class NearDuplicates:
    """Pairs of different files that show the same image.

    Args:
        first: The smaller row number of each pair, most similar pairs first. Exact copies are represented by the first.
        second: The other row's number.
        similarity: Correlation of the two thumbnails, in [0.9, 1].
        notes: What was not compared, and why.
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

    Two images are near copies when three conditions hold. Their hashes differ in at most 8 of 64 bits (6 among more
    than 300,000 images, because the number of chance neighbors grows with the square). Their 16 x 16 color thumbnails
    correlate by at least 0.9. Without the mean of each 4 x 4 pixels, these still correlate by 0.72. The last condition
    is for smooth images: two small planes in front of the same sky correlate by 0.9, and by 0.3 without the sky. Blank
    images resemble one another and are not compared.

    Args:
        copies: Groups of exact copies; one of each is compared.
        observe: Called with the parts done and in all.
    """
    nothing = np.zeros(0, np.int64)
    if scanned.hashes is None:
        note = f"Near copies were not searched for: images of under {MIN_PX} px are too similar to tell apart."
        return NearDuplicates(nothing, nothing, np.zeros(0, np.float32), (note,))
    usable = np.flatnonzero(scanned.span >= _MIN_SPAN)
    usable = first_of_each(copies, usable)
    order = usable[np.argsort(scanned.hashes[usable], kind="stable")]
    words, starts, counts = np.unique(scanned.hashes[order], return_index=True, return_counts=True)
    bits = MAX_BITS if len(usable) <= MANY else MAX_BITS_OF_MANY
    close = close_pairs(words, bits, observe=observe)
    pairs = np.concatenate([_within(order, starts, counts), _between(order, starts, counts, close.first, close.second)])
    pairs = np.unique(np.sort(pairs, axis=1), axis=0)
    similarity = np.concatenate(
        [np.zeros(0, np.float32)]
        + [_similarity(rows, pairs[at : at + _PAIRS_AT_ONCE]) for at in range(0, len(pairs), _PAIRS_AT_ONCE)]
    )
    kept = np.flatnonzero(similarity >= MIN_SIMILARITY)
    kept = kept[np.argsort(-similarity[kept], kind="stable")]
    return NearDuplicates(pairs[kept, 0], pairs[kept, 1], similarity[kept], _notes(len(usable), bits, close.num_capped))


def duplicate_groups(near: NearDuplicates, count: int, copies: Ids | None) -> Ids:
    """Each row's group of exact or near copies, the connected components of all pairs; -1 for a row without copies.

    Args:
        count: Number of rows in all.
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
    groups = np.full(count, ALONE, np.int64)
    groups[grouped] = np.unique(component[grouped], return_inverse=True)[1]
    return groups


def _within(order: Ids, starts: Ids, counts: Ids) -> Ids:
    """Pairs of images with the same hash: each with the next few, which links all of them if they are similar."""
    word = np.repeat(np.arange(len(starts)), counts)
    pairs = [np.zeros((0, 2), np.int64)]
    for distance in range(1, min(_REACH, len(order) - 1) + 1):
        at = np.flatnonzero(word[distance:] == word[:-distance])
        pairs.append(np.stack([order[at], order[at + distance]], 1))
    return np.concatenate(pairs)


def _between(order: Ids, starts: Ids, counts: Ids, first: Ids, second: Ids) -> Ids:
    """Pairs of images with similar hashes: the first few of each."""
    pairs = [np.zeros((0, 2), np.int64)]
    for member in range(_MEMBERS):
        for other in range(_MEMBERS):
            at = (member < counts[first]) & (other < counts[second])
            pairs.append(np.stack([order[starts[first[at]] + member], order[starts[second[at]] + other]], 1))
    return np.concatenate(pairs)


def _similarity(rows: Tensor, pairs: Ids) -> NDArray[np.float32]:
    """The correlation of the thumbnails of each pair; 0 where their details correlate too little."""
    ids, at = np.unique(pairs, return_inverse=True)
    at = at.reshape(pairs.shape)
    small = thumbnails(rows, ids, _POINTS)
    similarity = np.empty(len(pairs), np.float32)
    for start in range(0, len(pairs), _THUMBNAILS_AT_ONCE):
        part = slice(start, start + _THUMBNAILS_AT_ONCE)
        first, second = (small[at[part, side]].astype(np.float32) for side in (0, 1))
        coarse = _correlation(first, second)
        fine = _correlation(_details(first), _details(second))
        similarity[part] = np.where(fine >= MIN_FINE_SIMILARITY, coarse, 0)
    return similarity


def _correlation(first: NDArray[np.float32], second: NDArray[np.float32]) -> NDArray[np.float32]:
    first, second = (images.reshape(len(images), -1) for images in (first, second))
    first, second = (images - images.mean(1, keepdims=True) for images in (first, second))
    scale = np.sqrt(np.einsum("nd,nd->n", first, first) * np.einsum("nd,nd->n", second, second))
    correlation: NDArray[np.float32] = np.einsum("nd,nd->n", first, second) / np.maximum(scale, 1e-6)
    return correlation


def _details(small: NDArray[np.float32]) -> NDArray[np.float32]:
    """The thumbnails without the mean of each cell."""
    cells = small.reshape(*small.shape[:2], _POINTS // _CELL, _CELL, _POINTS // _CELL, _CELL)
    details: NDArray[np.float32] = (cells - cells.mean((3, 5), keepdims=True)).reshape(small.shape)
    return details


def _notes(count: int, bits: int, num_capped: int) -> tuple[str, ...]:
    notes = []
    if bits < MAX_BITS:
        notes.append(
            f"Among {count:,} images near copies were searched for within {bits} instead of {MAX_BITS} bits of their "
            "hashes: compressed, resized and brightened ones are found, some that were cropped are not."
        )
    if num_capped:
        notes.append(
            f"{num_capped:,} images resemble so many others that each was compared with only some of them; "
            "near copies among these may be missing."
        )
    return tuple(notes)
