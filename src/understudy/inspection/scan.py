"""One pass over all pixels, a few MB at a time: brightness, sharpness, color and perceptual hash of each image."""

from __future__ import annotations

from dataclasses import dataclass, fields

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from understudy.core.types import Observe
from understudy.inspection.thumbnails import averages

Floats = NDArray[np.float32]

MIN_PX = 16
"""Side below which perceptual hashes cannot separate images: they use waves down to a sixteenth of the side."""
_CHUNK_PIXELS = 1 << 18  # 3 MB of floats of a color image, which a processor's cache holds
_FLAT = 1e-3  # sum of squared second differences, in levels, below which there is no edge but rounding
_LUMINANCE = np.array([0.299, 0.587, 0.114], np.float32)  # ITU-R BT.601, the weights of JPEG


@dataclass(frozen=True, eq=False)
class Scan:
    """Measurements of every image, one number per row; levels are from 0 to 255.

    Args:
        brightness: Mean level.
        contrast: Standard deviation of the levels.
        span: The lightest level less the darkest.
        edge_px: Half-width of the edges, as the standard deviation of the Gaussian that blurs a step; about 0.6 px in a
            sharp image, whatever it shows. Infinite without any edge.
        color: Mean difference between an image's channels; 0 for gray ones.
        hashes: 64 bits that hardly change when an image is compressed, resized, brightened or cropped a little; None
            where images are too small.
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
        hashes: Whether to compute perceptual hashes.
        observe: Called with the numbers of images scanned and in all.
    """
    count, channels, side = len(rows), rows.shape[1], rows.shape[-1]
    found = {field.name: np.zeros(count, np.float32) for field in fields(Scan) if field.name not in _NOT_PER_ROW}
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

    Across a step blurred by a Gaussian of standard deviation s, the squared second differences sum up to 1 / (2 s^2)
    times the squared first differences. Squares give the strongest edges the most weight, so a smooth sky does not
    count as blur, and contrast cancels out.
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
    """The nine lowest waves of the cosine transform of 32 points, as weights of the image's own pixels [9 side]."""
    points = (np.arange(32)[None] + 0.5) * np.pi / 32
    cosines = np.cos(np.arange(9)[:, None] * points)
    return (cosines @ averages(side, 32)).astype(np.float32)


def _hash(gray: NDArray[np.float32], waves: Floats) -> NDArray[np.uint64]:
    """The hash: one bit for each of 64 low waves without the mean level, set if the wave is above their median."""
    transformed = waves @ (gray @ waves.T)
    low = transformed.reshape(len(gray), 81)[:, _ORDER]
    bits = low > np.median(low, axis=1, keepdims=True)
    words: NDArray[np.uint64] = np.ascontiguousarray(np.packbits(bits, axis=1)).view(">u8").ravel().astype(np.uint64)
    return words


def _lowest() -> NDArray[np.int64]:
    """Indices of the 64 lowest of 81 waves without the mean, those that are low in both directions first."""
    row, column = np.divmod(np.arange(81), 9)
    order = np.lexsort((row, np.maximum(row, column), row + column))
    lowest: NDArray[np.int64] = order[order != 0][:64]
    return lowest


_ORDER = _lowest()
