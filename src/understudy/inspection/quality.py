"""Images that are blank, dark, overexposed, blurred, oddly shaped or gray, compared with the rest of the collection."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from understudy.core.types import Ids
from understudy.inspection.scan import Scan

Floats = NDArray[np.float32]

# `flaws` gives the reason for each of these.
_BLANK_CONTRAST, _BLANK_SPAN = 2.5, 20.0
_QUARTER = 64.0  # of 256 levels
_SOFT_PX, _SOFT_SHARE, _SOFT_TIMES = 1.2, 0.01, 1.8  # twice the 0.6 px of a picture in focus, or 2.2 px of 224
_LONG, _LONG_TIMES = 2.5, 1.8
_SMALL_TIMES = 2  # a file enlarged to twice its side has three of four pixels interpolated
_GRAY, _MOSTLY_COLOR = 1.0, 0.5  # levels of 255, below the rounding of JPEG; share of the images

QUALITY_KINDS = ("blank", "dark", "overexposed", "blurry", "tiny", "elongated", "gray")


def flaws(scanned: Scan, sizes: NDArray[np.int32] | None, size: int) -> Mapping[str, Ids]:
    """The rows with each flaw, worst first; a blank image has no other flaw.

    * `blank`: a standard deviation under 2.5 of 255 levels, and all pixels within 20 levels. Recompressing a plain area
      gives less; the faintest fog gives more. An empty digit field is as blank as a covered lens.
    * `dark`: its light parts (mean plus two standard deviations) are below a quarter of the range, and below half the
      median of the collection. White strokes on black are light enough; among night skies dark is normal.
    * `overexposed`: the same for its dark parts. A product on white has enough dark parts.
    * `blurry`: edges wider than 1.2 px and 1 % of the side, and 1.8 times as wide as the median, so that collections
      that were enlarged or are soft by nature are not flagged. `Scan.edge_px` explains why smooth images are not.
    * `tiny`: the file's shorter side is under half of the training size and half of the median, so that most pixels
      are interpolated.
    * `elongated`: over 2.5 times as long as wide, and 1.8 times as much as the median: the square cut out of its
      middle shows under two fifths of the image.
    * `gray`: channels differ by less than one level, while most images have color. Where most images are gray, none is
      flagged.

    Args:
        sizes: Width and height of each image in its file, 0 where there is none.
        size: Training resolution in px.
    """
    blank = (scanned.contrast < _BLANK_CONTRAST) & (scanned.span <= _BLANK_SPAN)
    usable = ~blank
    light = scanned.brightness + 2 * scanned.contrast
    shade = 255 - (scanned.brightness - 2 * scanned.contrast)
    rows = {
        "blank": _worst_first(blank, scanned.contrast),
        "dark": _worst_first(usable & _is_low(light, usable), light),
        "overexposed": _worst_first(usable & _is_low(shade, usable), shade),
        "blurry": _worst_first(usable & _is_soft(scanned.edge_px, usable, size), -scanned.edge_px),
    }
    rows |= _shapes(sizes, size)
    is_gray = usable & (scanned.color < _GRAY)
    if len(scanned.channel_means) == 1 or is_gray.sum() > _MOSTLY_COLOR * usable.sum():
        is_gray = np.zeros_like(is_gray)
    return rows | {"gray": np.flatnonzero(is_gray)}


def _is_low(values: Floats, usable: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Below a quarter of the range, and below half the median."""
    usual = float(np.median(values[usable])) if usable.any() else 0.0
    is_low: NDArray[np.bool_] = (values < _QUARTER) & (values < usual / 2)
    return is_low


def _is_soft(edge_px: Floats, usable: NDArray[np.bool_], size: int) -> NDArray[np.bool_]:
    usual = float(np.median(edge_px[usable])) if usable.any() else 0.0
    is_soft: NDArray[np.bool_] = edge_px > max(_SOFT_PX, _SOFT_SHARE * size, _SOFT_TIMES * usual)
    return is_soft


def _shapes(sizes: NDArray[np.int32] | None, size: int) -> dict[str, Ids]:
    """Files of unusual size and shape."""
    known = np.zeros(0, np.int64) if sizes is None else np.flatnonzero(sizes.min(1) > 0)
    if sizes is None or not len(known):
        return {"tiny": known, "elongated": known}
    width, height = sizes[known].astype(np.float64).T
    shorter = np.minimum(width, height)
    tiny = (shorter * _SMALL_TIMES < size) & (shorter * _SMALL_TIMES < np.median(shorter))
    aspect = np.log(width / height)
    odd = np.abs(aspect - np.median(aspect))
    elongated = (np.abs(aspect) > np.log(_LONG)) & (odd > np.log(_LONG_TIMES))
    return {"tiny": known[_worst_first(tiny, shorter)], "elongated": known[_worst_first(elongated, -odd)]}


def _worst_first(flawed: NDArray[np.bool_], badness: NDArray[np.floating]) -> Ids:
    """The flawed rows by ascending value."""
    rows = np.flatnonzero(flawed)
    return rows[np.argsort(badness[rows], kind="stable")]
