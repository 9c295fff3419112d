"""Which pixel values become black and white, once per data set; with only NumPy, as decoder processes need.

Values of 8 bits are what they are. Of every other kind of number (16-bit, signed, float) the range in use is measured
on a sample, snapped to a range that such values usually have, and kept with the data and with the model: the same
value becomes the same gray in every file, array and batch.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

Range = tuple[float, float]
"""The values that become 0 and 255."""

# What values mean when no data set says otherwise: the whole range of unsigned types, and floats as in torchvision.
DEFAULTS: Mapping[str, Range] = {
    "uint16": (0.0, 65535.0),
    "uint32": (0.0, 4294967295.0),
    "int": (0.0, 255.0),
    "float": (0.0, 1.0),
}
NUM_MEASURED = 128  # images measured; the estimate is about their largest values, which more images hardly move
_TAIL = 0.1  # percent of an image's pixels at each end that are ignored: hot pixels and overshoot of resampling
_TOLERANCE = 0.05  # of the values' own span outside of a usual float range: overshoot of stronger resampling
_APART = 16.0  # times the usual top: values of another unit. Four bits, the step from 12-bit to 16-bit values
_FEW = 0.05  # share of images that may be of another unit without counting for the range
_ALONE = 5  # images from which one of them counts as few
_STRAY = 0.01  # share of an image's values that may lie far outside the range before the image is refused
USUAL_FLOATS: tuple[Range, ...] = ((0.0, 1.0), (-1.0, 1.0), (0.0, 255.0), (0.0, 65535.0))


class OutOfRangeError(Exception):
    """Values of another unit than the data set's; the text is the reason."""


class Ranges:
    """The ranges of one data set: measured where a kind of value is first met, or fixed as the model knows them.

    Args:
        fixed: By kind; a kind that is missing has its default. None to measure.
    """

    def __init__(self, fixed: Mapping[str, Range] | None = None) -> None:
        self.fixed = fixed is not None
        self.known: dict[str, Range] = dict(fixed or {})
        self.used: dict[str, Range] = {}

    def of(self, kind: str, extents: Iterable[Range]) -> Range:
        """The range of this kind; the extents of some images are taken when it is still to be measured."""
        if kind not in self.known:
            self.known[kind] = DEFAULTS[kind] if self.fixed else choose_range(kind, list(extents))
        self.used[kind] = self.known[kind]
        return self.known[kind]

    def notes(self) -> list[str]:
        """A sentence for each range that is not the default."""
        return [
            f"{kind} values are scaled from {low:.6g} (black) to {high:.6g} (white), the same in every image"
            for kind, (low, high) in sorted(self.used.items())
            if not self.fixed and (low, high) != DEFAULTS[kind]
        ]


def kind_of(dtype: np.dtype[np.generic]) -> str | None:
    """The kind of value that a type holds, None for 8 bits, which need no range."""
    if dtype.kind in "b" or dtype == np.uint8:
        return None
    if dtype.kind == "f":
        return "float"
    return dtype.name if dtype.name in ("uint16", "uint32") else "int"


def extent(values: NDArray[np.generic]) -> Range | None:
    """The range of an image's finite values without its extreme ones, None when there is none."""
    numbers = np.asarray(values, np.float64).ravel()
    numbers = numbers[np.isfinite(numbers)]
    if not len(numbers):
        return None
    low, high = np.percentile(numbers, (_TAIL, 100 - _TAIL), method="nearest")
    return float(low), float(high)


def choose_range(kind: str, extents: Sequence[Range], *, filled: bool = True) -> Range:
    """The range for images with these extents: a usual one when they fit one, else theirs.

    Args:
        filled: Whether they must also fill a range up to 1 to a sixteenth, or be measured. Files may hold any unit,
            but of small values in memory it is more likely that the images are dark.
    """
    if not extents:
        return DEFAULTS[kind]
    low, high = _common(np.array(extents))
    if kind == "float":
        for usual in USUAL_FLOATS:
            slack = _TOLERANCE * min(usual[1] - usual[0], high - low)
            fits = usual[0] - slack <= low and high <= usual[1] + slack
            is_full = float(np.abs((low, high)).max()) * _APART >= usual[1]
            if fits and (is_full or (not filled and usual[1] == 1)):
                return usual
    elif low >= 0:
        # The number of bits in use, 8 at least: 12-bit values in a 16-bit file have 4095 for white.
        bits = max(8, int(high).bit_length())
        return 0.0, float(2**bits - 1)
    return (low, high) if high > low else (low, low + 1.0)


def _common(extents: NDArray[np.float64]) -> Range:
    """The lowest and highest value of the images, without a few images whose values are of another unit."""
    size: NDArray[np.float64] = np.abs(extents).max(1)
    apart = size > _APART * max(float(np.median(size)), float(np.finfo(np.float32).tiny))
    if apart.sum() <= max(_FEW * len(extents), len(extents) >= _ALONE):
        extents = extents[~apart]
    return float(extents[:, 0].min()), float(extents[:, 1].max())


def to_uint8(values: NDArray[np.generic], kind: str, to: Range) -> NDArray[np.uint8]:
    """The values as uint8, clipped to the range; NaN becomes its lower end.

    Raises:
        OutOfRangeError: More than a few of them lie far outside, so that they are of another unit.
    """
    low, high = to
    span = high - low
    numbers = np.asarray(values)
    if kind in ("float", "int") and numbers.size:
        stray = (numbers < low - span) | (numbers > high + span)
        if kind == "float":
            stray &= np.isfinite(numbers)
        if np.count_nonzero(stray) > _STRAY * numbers.size:
            finite = numbers[np.isfinite(numbers)]
            raise OutOfRangeError(
                f"its values are from {finite.min():.4g} to {finite.max():.4g}, and those of the data set from "
                f"{low:.4g} to {high:.4g}; give all images in one unit"
            )
    if kind == "float":
        numbers = np.nan_to_num(numbers, nan=low, posinf=high, neginf=low)
    scaled = (numbers - low) * (255 / span) if low else numbers * (255 / span)
    result: NDArray[np.uint8] = np.round(scaled).clip(0, 255).astype(np.uint8)
    return result
