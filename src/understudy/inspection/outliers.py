"""Outliers: single rows and small groups of rows that are far from all others."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from understudy.core.seeding import generator
from understudy.core.types import Ids

MIN_ROWS = 50  # the ninth decile, which sets the threshold, then rests on five rows
_GROUP_SHARE, _MIN_NEIGHBORS = 0.01, 5  # the largest group that counts as outliers; a class has more rows than that
_MAX_REFERENCE, _ROWS_AT_ONCE = 10_000, 1024  # bound the time, and a block of distances to 40 MB
_SPREADS = 2.5  # gives under 1 % of rows in data without foreign images; see `find_outliers`


@dataclass(frozen=True, eq=False)
class Outliers:
    """Rows that are unusually far from the others.

    Args:
        rows: Row numbers, most distant first.
        distance: Distance of every row to its k-th nearest neighbor, with k = 1 % of the rows, as a multiple of the
            median. A group of fewer than k rows has the distance of the group to the rest.
        threshold: Outliers have a larger distance than this.
    """

    rows: Ids
    distance: NDArray[np.float64]
    threshold: float


def find_outliers(features: NDArray[np.floating], *, seed: int = 0) -> Outliers:
    """The rows whose distance exceeds the median by 2.5 times as much as the ninth decile does.

    These are under 1 % of 4,000 rows of CIFAR-10, cats and dogs, or digits, which have no foreign images. Fewer than 50
    rows have no outliers. Neighbors are searched among 10,000 rows, so the cost is linear in the number of rows.

    Args:
        features: From `embed`, (n, d).
    """
    count = len(features)
    if count < MIN_ROWS:
        return Outliers(np.zeros(0, np.int64), np.ones(count), float("inf"))
    rows = features.astype(np.float32)
    drawn = np.sort(generator("outliers", seed).permutation(count)[:_MAX_REFERENCE])
    reference = rows[drawn]
    neighbor = max(_MIN_NEIGHBORS, round(_GROUP_SHARE * len(reference)))
    place = np.full(count, -1)
    place[drawn] = np.arange(len(drawn))
    lengths = np.square(reference).sum(1)
    distance = np.empty(count)
    for start in range(0, count, _ROWS_AT_ONCE):
        part = rows[start : start + _ROWS_AT_ONCE]
        squares = np.square(part).sum(1)[:, None] - 2 * part @ reference.T + lengths
        own = place[start : start + len(part)]
        known = np.flatnonzero(own >= 0)
        squares[known, own[known]] = np.inf
        nearest = np.partition(squares, neighbor - 1, axis=1)[:, neighbor - 1]
        distance[start : start + len(part)] = np.sqrt(np.maximum(nearest, 0))
    middle, ninth = np.quantile(distance, (0.5, 0.9))
    scale = middle or 1.0
    distance, threshold = distance / scale, float((middle + _SPREADS * (ninth - middle)) / scale)
    order = np.argsort(-distance, kind="stable")
    # The tolerance keeps rows at equal distances from being outliers by rounding.
    return Outliers(order[distance[order] > threshold * (1 + 1e-6)], distance, threshold)
