"""Thumbnails of images of any side, by averaging."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

_CHUNK_PIXELS = 1 << 18  # 3 MB of floats of a color image, which a processor's cache holds


def averages(side: int, points: int) -> NDArray[np.float32]:
    """The matrix [points side] that averages a line of `side` pixels into `points` equal parts."""
    edges = np.linspace(0, side, points + 1)
    pixels = np.arange(side)
    overlap = np.minimum(edges[1:, None], pixels + 1) - np.maximum(edges[:-1, None], pixels)
    weights: NDArray[np.float32] = (np.clip(overlap, 0, None) * (points / side)).astype(np.float32)
    return weights


def thumbnails(rows: Tensor, ids: NDArray[np.int64], points: int) -> NDArray[np.uint8]:
    """Thumbnails [n c points points] of the rows `ids`."""
    small = np.empty((len(ids), rows.shape[1], points, points), np.uint8)
    shrink = averages(rows.shape[-1], points)
    step = max(1, _CHUNK_PIXELS // rows.shape[-1] ** 2)
    for start in range(0, len(ids), step):
        pixels = rows[ids[start : start + step]].numpy().astype(np.float32)
        small[start : start + step] = np.rint(shrink @ pixels @ shrink.T)
    return small
