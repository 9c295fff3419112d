"""The working size: at which resolution and in how many channels images are kept and trained."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import median

import numpy as np

from understudy.core.arguments import is_whole, quoted
from understudy.core.errors import ConfigError
from understudy.data.collection import Names
from understudy.data.decode import UnreadableImageError, decode_file, is_gray, probe_file

SMALL_PX = 64  # up to here images are trained at their own size; the usual research data sets have 28 to 64 px
# Files read for their size, by the header alone, and decoded to see whether all are gray: enough for a median, and for
# a color image among gray ones that is not rare.
_NUM_HEADERS, _NUM_COLORS = 256, 32


@dataclass(frozen=True)
class Form:
    """How images are kept: on a square canvas of so many px and channels, to be trained at `size` px."""

    size: int
    canvas: int
    channels: int


def check_request(size: int | None, channels: int | None) -> None:
    """Validate the size and channels that the user asked for.

    Raises:
        ConfigError: They are not.
    """
    if size is not None and not is_whole(size, 4, 1024):
        raise ConfigError(f"size is {quoted(size)}; give the side of the training image in px, from 4 to 1024")
    if channels is not None and not (is_whole(channels) and channels in (1, 3)):
        raise ConfigError(f"channels is {quoted(channels)}; give 1 for gray-scale or 3 for color")


def choose_form(sizes: Sequence[tuple[int, int]], gray: bool, size: int | None, channels: int | None) -> Form:
    """The form for images of the given widths and heights, where a request by the user comes first.

    Small images are trained as they are. Larger ones are kept on a canvas 8/7 of the training size, from which crops
    are drawn; 224 px on a canvas of 256 px is the most that is chosen unasked.
    """
    channels = channels or (1 if gray else 3)
    side = median(min(pair) for pair in sizes)
    uniform = len(set(sizes)) == 1 and sizes[0][0] == sizes[0][1]
    if size is None and side <= SMALL_PX:
        size = max(8, int(side) if uniform else 4 * round(side / 4))
    elif size is None:
        size = min(224, max(SMALL_PX, int(side * 7 / 8) // 16 * 16))
    if size <= SMALL_PX:
        return Form(size, size, channels)
    canvas = round(size * 8 / 7)
    if uniform and size <= side <= canvas + 16:
        canvas = int(side)  # as they are: a resize would only blur
    return Form(size, canvas, channels)


def choose_for_files(paths: Names, size: int | None, channels: int | None) -> Form:
    """The form that suits the files, from the headers of some and the colors of fewer."""
    sizes = [pair for path in _spread(paths, _NUM_HEADERS) if (pair := probe_file(path)) is not None]
    gray = channels is None and bool(sizes) and all(_file_is_gray(path) for path in _spread(paths, _NUM_COLORS))
    return choose_form(sizes or [(SMALL_PX, SMALL_PX)], gray, size, channels)


def _spread(paths: Names, count: int) -> list[str]:
    return [str(path) for path in paths[np.linspace(0, len(paths) - 1, min(count, len(paths))).astype(int)]]


def _file_is_gray(path: str) -> bool:
    try:
        return is_gray(decode_file(path, 32, 3)[0])
    except UnreadableImageError:
        return True
