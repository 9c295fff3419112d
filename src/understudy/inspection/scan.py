"""One pass over all pixels, a few MB at a time: how light, sharp and colored each image is, and its perceptual hash."""

from __future__ import annotations

from dataclasses import dataclass, fields

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from understudy.core.types import Observe
from understudy.inspection.thumbnails import averages

Floats = NDArray[np.float32]

MIN_PX = 16
"""Side below which two different images look alike to a perceptual hash: it is made of waves down to a sixteenth."""
_CHUNK_PIXELS = 1 << 18
_FLAT = 1e-3
_LUMINANCE = np.array([0.299, 0.587, 0.114], np.float32)


@dataclass(frozen=True, eq=False)
class Scan:
    """What one look at every image gives, a number per row; levels are from 0 to 255.

    Args:
        brightness: Mean level.
        contrast: Standard deviation of the levels.
        span: The lightest level less the darkest.
        edge_px: Half-width of the edges, as of a step blurred by a Gaussian of that standard deviation; a picture in
            focus has about 0.6 px, whatever it shows. Infinite where there is no edge.
        color: Mean difference between an image's channels; 0 for gray ones.
        hashes: 64 bits that stay nearly the same when an image is compressed, resized, brightened or cropped a little;
            None where images are too small for that.
        channel_means: Mean level of each channel over all images.
        channel_stds: Standard deviation of each channel over all pixels of all images.
    """

    brightness: Floats
    contrast: Floats
    span: Floats
    edge_px: Floats
    color: Floats
    hashes: NDArray[np.uint64] | None
    channel_means: tuple[float, ...]
    channel_stds: tuple[float, ...]

    def __len__(self) -> int:
        return len(self.brightness)


def scan(rows: Tensor, *, hashes: bool = True, observe: Observe | None = None) -> Scan:
    """The scan of uint8 images [n c h w].

    Args:
        hashes: Whether perceptual hashes are wanted.
        observe: Called with the numbers of images looked at and in all.
    """
    count, channels, side = len(rows), rows.shape[1], rows.shape[-1]
    found = {one.name: np.zeros(count, np.float32) for one in fields(Scan) if one.name not in _NOT_PER_ROW}
    wanted = hashes and side >= MIN_PX
    words = np.zeros(count if wanted else 0, np.uint64)
    sums, squares = np.zeros(channels), np.zeros(channels)
    waves = _waves(side)
    step = max(1, _CHUNK_PIXELS // side**2)
    for start in range(0, count, step):
        pixels = rows[start : start + step].numpy()
        part = slice(start, start + len(pixels))
        floats = pixels.astype(np.float32)
        sums += floats.sum((0, 2, 3), dtype=np.float64)
        squares += np.einsum("nchw,nchw->c", floats, floats, dtype=np.float64, casting="same_kind")
        gray = floats[:, 0] if channels == 1 else np.einsum("nchw,c->nhw", floats, _LUMINANCE)
        found["brightness"][part] = gray.mean((1, 2))
        found["contrast"][part] = gray.std((1, 2))
        found["span"][part] = gray.max((1, 2)) - gray.min((1, 2))
        found["edge_px"][part] = _edge_px(gray)
        if channels > 1:
            found["color"][part] = np.abs(floats[:, 1:] - floats[:, :-1]).mean((1, 2, 3))
        if wanted:
            words[part] = _hash(gray, waves)
        if observe is not None:
            observe(min(count, start + step), count)
    pixels_in_all = max(1, count * side**2)
    means = sums / pixels_in_all
    stds = np.sqrt(np.maximum(squares / pixels_in_all - means**2, 0))
    return Scan(
        **found,
        hashes=words if wanted else None,
        channel_means=tuple(means.tolist()),
        channel_stds=tuple(stds.tolist()),
    )


_NOT_PER_ROW = ("hashes", "channel_means", "channel_stds")


def _edge_px(gray: NDArray[np.float32]) -> Floats:
    """Half-width of the edges in px.

    Across a step blurred by a Gaussian of standard deviation s the squared second differences sum up to 1 / (2 s^2) of
    the squared first ones. Squares let the strongest edges decide, so that a smooth sky is not taken for a blur, and
    contrast cancels out.
    """
    first, second = np.zeros(len(gray), np.float32), np.zeros(len(gray), np.float32)
    for lines in (gray, gray.transpose(0, 2, 1)):
        slope = lines[:, :, 1:] - lines[:, :, :-1]
        bend = slope[:, :, 1:] - slope[:, :, :-1]
        first += np.einsum("nij,nij->n", slope, slope)
        second += np.einsum("nij,nij->n", bend, bend)
    width = np.sqrt(first / np.maximum(2 * second, _FLAT))
    return np.where(second > _FLAT, width, np.inf).astype(np.float32)


def _waves(side: int) -> Floats:
    """The nine lowest waves of the cosine transform of 32 points, [9 side], as sums over the image's own pixels."""
    points = (np.arange(32)[None] + 0.5) * np.pi / 32
    cosines = np.cos(np.arange(9)[:, None] * points)
    return (cosines @ averages(side, 32)).astype(np.float32)


def _hash(gray: NDArray[np.float32], waves: Floats) -> NDArray[np.uint64]:
    """One bit for each of 64 low waves, the mean level left out: whether it is above their median."""
    transformed = waves @ (gray @ waves.T)
    low = transformed.reshape(len(gray), 81)[:, _ORDER]
    bits = low > np.median(low, axis=1, keepdims=True)
    found: NDArray[np.uint64] = np.ascontiguousarray(np.packbits(bits, axis=1)).view(">u8").ravel().astype(np.uint64)
    return found


def _lowest() -> NDArray[np.int64]:
    """The 64 lowest of 81 waves but for the mean, those that are low in both directions first."""
    row, column = np.divmod(np.arange(81), 9)
    order = np.lexsort((row, np.maximum(row, column), row + column))
    found: NDArray[np.int64] = order[order != 0][:64]
    return found


_ORDER = _lowest()
