"""Images that are blank, dark, overexposed, blurred, oddly shaped or without color, judged beside their collection."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from understudy.core.types import Ids
from understudy.inspection.scan import Scan

Floats = NDArray[np.float32]

_BLANK_CONTRAST, _BLANK_SPAN = 2.5, 20.0
_QUARTER = 64.0
_SOFT_PX, _SOFT_SHARE, _SOFT_TIMES = 1.2, 0.01, 1.8
_LONG, _LONG_TIMES = 2.5, 1.8
_SMALL_TIMES = 2
_GRAY, _MOSTLY_COLOR = 1.0, 0.5

QUALITY_KINDS = ("blank", "dark", "overexposed", "blurry", "tiny", "elongated", "gray")


def flaws(scanned: Scan, sizes: NDArray[np.int32] | None, size: int) -> Mapping[str, Ids]:
    """The rows with each flaw, the worst first; a blank image has no other.

    * `blank`: a standard deviation under 2.5 of 255 levels, and no two pixels over 20 apart. Recompressing a plain area
      gives less; the faintest fog gives more. An empty digit field is blank as much as a covered lens.
    * `dark`: what is light in it (mean and two standard deviations) is under a quarter of the range, and under half of
      what is usual here. White strokes on black are light enough; in a collection of night skies dark is usual.
    * `overexposed`: the same upside down. A product on white has dark parts enough.
    * `blurry`: edges wider than 1.2 px and 1 % of the side, and 1.8 times as wide as is usual here, so that images that
      were all enlarged, or are soft by nature, are not blamed. See `Scan.edge_px` for why smooth pictures are not.
    * `tiny`: the file's shorter side is under half of the training size and half of what is usual: it is mostly
      made up by enlarging.
    * `elongated`: over 2.5 times as long as wide, and 1.8 times what is usual here: the square that is cut out of
      its middle shows under two fifths of it.
    * `gray`: channels differ by less than one level, where most images have color. Where most have none, gray is
      the rule and no flaw.

    Args:
        sizes: Width and height of each image in its file, 0 where there is none.
        size: Side in px at which images are trained.
    """
    blank = (scanned.contrast < _BLANK_CONTRAST) & (scanned.span <= _BLANK_SPAN)
    usable = ~blank
    light = scanned.brightness + 2 * scanned.contrast
    shade = 255 - (scanned.brightness - 2 * scanned.contrast)
    found = {
        "blank": _worst_first(blank, scanned.contrast),
        "dark": _worst_first(usable & _is_low(light, usable), light),
        "overexposed": _worst_first(usable & _is_low(shade, usable), shade),
        "blurry": _worst_first(usable & _is_soft(scanned.edge_px, usable, size), -scanned.edge_px),
    }
    found |= _shapes(sizes, size)
    is_gray = usable & (scanned.color < _GRAY)
    if len(scanned.channel_means) == 1 or is_gray.sum() > _MOSTLY_COLOR * usable.sum():
        is_gray = np.zeros_like(is_gray)
    return found | {"gray": np.flatnonzero(is_gray)}


def _is_low(values: Floats, usable: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Under a quarter of the range, and under half of what is usual."""
    usual = float(np.median(values[usable])) if usable.any() else 0.0
    found: NDArray[np.bool_] = (values < _QUARTER) & (values < usual / 2)
    return found


def _is_soft(edge_px: Floats, usable: NDArray[np.bool_], size: int) -> NDArray[np.bool_]:
    usual = float(np.median(edge_px[usable])) if usable.any() else 0.0
    found: NDArray[np.bool_] = edge_px > max(_SOFT_PX, _SOFT_SHARE * size, _SOFT_TIMES * usual)
    return found


def _shapes(sizes: NDArray[np.int32] | None, size: int) -> dict[str, Ids]:
    """Files of odd size and shape."""
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
    """The flawed rows, by ascending value."""
    rows = np.flatnonzero(flawed)
    return rows[np.argsort(badness[rows], kind="stable")]
