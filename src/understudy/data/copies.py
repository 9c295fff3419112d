"""Rows that are the same picture byte for byte: found by a hash of each row, believed only after the bytes agree."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from understudy.core.types import Ids
from understudy.data.decode import fingerprints

ALONE = -1  # number of a row without a copy; row numbers start at 0
_CHUNK_BYTES = 1 << 24  # 16 MiB: large enough to hide the cost of a call, small beside any data set


def hash_rows(rows: Tensor) -> NDArray[np.uint64]:
    """A number of 64 bits for each row, the same for rows of the same bytes; read once, a few MB at a time."""
    found = np.empty(len(rows), np.uint64)
    step = _rows_at_once(rows)
    for start in range(0, len(rows), step):
        found[start : start + step] = fingerprints(_bytes_of(rows[start : start + step]))
    return found


def exact_copies(rows: Tensor, hashes: NDArray[np.uint64] | None = None) -> Ids:
    """The number of each row's group of byte-identical rows, counted in the order of their first rows; -1 if alone.

    Args:
        hashes: As `hash_rows` gives them, where they are known already, so that no row is read that has no copy.
    """
    hashes = hash_rows(rows) if hashes is None else hashes
    same_as = np.arange(len(rows))  # the first row that a row equals
    left = np.arange(len(rows))
    while len(left):
        order = left[np.argsort(hashes[left], kind="stable")]
        starts = np.flatnonzero(np.concatenate([[True], np.diff(hashes[order]) != 0]))
        lengths = np.diff(np.append(starts, len(order)))
        first = np.repeat(order[starts], lengths)
        later = first != order
        order, first = order[later], first[later]
        equal = _equal(rows, order, first)
        same_as[order[equal]] = first[equal]
        left = np.sort(order[~equal])  # of the same hash and yet other pictures
    return _numbered(same_as)


def first_of_each(copies: Ids | None, ids: Ids) -> Ids:
    """The given rows without those that copy an earlier one of them."""
    if copies is None:
        return ids
    groups = copies[ids]
    kept: NDArray[np.bool_] = groups == ALONE
    kept[np.unique(groups, return_index=True)[1]] = True
    found: Ids = ids[kept]
    return found


def is_copy_of(copies: Ids | None, ids: Ids, others: Ids) -> NDArray[np.bool_]:
    """Which of the rows are copies of one of the others."""
    if copies is None:
        return np.zeros(len(ids), np.bool_)
    groups = copies[ids]
    found: NDArray[np.bool_] = (groups != ALONE) & np.isin(groups, copies[others])
    return found


def joined(groups: Ids, copies: Ids) -> Ids:
    """Group numbers by which rows are together that share a group or are copies, through however many others.

    Args:
        groups: A number for each row; a row that is alone has one of its own.
        copies: The number of each row's group of copies, -1 where there is none.
    """
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import connected_components

    groups = np.unique(groups, return_inverse=True)[1]
    copied = np.flatnonzero(copies != ALONE)
    count = int(groups.max(initial=-1)) + 1
    size = count + int(copies.max(initial=-1)) + 1
    edges = coo_array((np.ones(len(copied), np.int8), (groups[copied], count + copies[copied])), shape=(size, size))
    _, component = connected_components(edges, directed=False)
    found: Ids = component[groups].astype(np.int64)
    return found


def _numbered(same_as: Ids) -> Ids:
    """Group numbers from the first row that each row equals."""
    firsts = np.unique(same_as[same_as != np.arange(len(same_as))])
    at = np.searchsorted(firsts, same_as)
    at[at == len(firsts)] = 0
    grouped = firsts[at] == same_as if len(firsts) else np.zeros(len(same_as), np.bool_)
    return np.where(grouped, at, ALONE).astype(np.int64)


def _equal(rows: Tensor, one: Ids, two: Ids) -> NDArray[np.bool_]:
    """Whether the rows with the first numbers have the bytes of those with the second."""
    found = np.empty(len(one), np.bool_)
    step = _rows_at_once(rows)
    for start in range(0, len(one), step):
        part = slice(start, start + step)
        found[part] = (_bytes_of(rows[one[part]]) == _bytes_of(rows[two[part]])).all(1)
    return found


def _bytes_of(rows: Tensor) -> NDArray[np.uint8]:
    array = np.ascontiguousarray(rows.numpy()).reshape(len(rows), -1)
    return array.view(np.uint8)


def _rows_at_once(rows: Tensor) -> int:
    return max(1, _CHUNK_BYTES // max(1, rows[:1].nbytes))
