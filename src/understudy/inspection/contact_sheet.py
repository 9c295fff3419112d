"""Images of a collection side by side in one PNG, numbered in order."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from understudy.core.files import atomic
from understudy.core.types import Ids
from understudy.data.collection import Collection

_TILE_PX, _GAP_PX, _TEXT_PX, _COLUMNS = 96, 8, 16, 10  # ten tiles, 1,048 px in all, fit the width of a screen
_FONT_PX = 12  # leaves a gap between lines of 16 px
_INK, _MUTED, _PAPER = (28, 33, 39), (102, 112, 123), (255, 255, 255)  # the text colors of the reports
_SMALL_PX = 48  # up to half a tile, enlarging keeps the pixels sharp; larger images are interpolated


def pictures(collection: Collection, ids: Ids) -> NDArray[np.uint8]:
    """The plain views of the rows (n, height, width, 3), without the margin of the stored canvas."""
    assert collection.size is not None
    rows = collection.rows.index_select(0, torch.from_numpy(ids)).numpy()
    margin = (rows.shape[-1] - collection.size) // 2
    window = rows[..., margin : margin + collection.size, margin : margin + collection.size].transpose(0, 2, 3, 1)
    return np.repeat(window, 3, axis=-1) if window.shape[-1] == 1 else window


def save_sheet(path: Path, images: NDArray[np.uint8], heading: str, texts: Sequence[str] = ()) -> None:
    """Write the images (n, height, width, 3) as one PNG: a heading, then rows of ten, each image above its number.

    Args:
        texts: A few characters to write below each image instead of its number.

    Raises:
        UserError: The file cannot be written.
    """
    columns, cell = min(_COLUMNS, max(4, len(images))), _TILE_PX + _GAP_PX  # four columns hold the heading
    lines = -(-len(images) // columns)
    wide = _GAP_PX + columns * cell
    draw = ImageDraw.Draw(Image.new("RGB", (1, 1)))
    font = ImageFont.load_default(_FONT_PX)
    words = _wrapped(heading, lambda text: draw.textlength(text, font) <= wide - 2 * _GAP_PX)
    top = _GAP_PX + _TEXT_PX * len(words) + _GAP_PX
    sheet = Image.new("RGB", (wide, top + lines * (cell + _TEXT_PX)), _PAPER)
    draw = ImageDraw.Draw(sheet)
    for number, line in enumerate(words):
        draw.text((_GAP_PX, _GAP_PX + number * _TEXT_PX), line, _INK, font)
    for number, pixels in enumerate(images):
        left, high = _GAP_PX + number % columns * cell, top + number // columns * (cell + _TEXT_PX)
        filter_ = Image.Resampling.NEAREST if max(pixels.shape[:2]) <= _SMALL_PX else Image.Resampling.LANCZOS
        sheet.paste(Image.fromarray(np.ascontiguousarray(pixels)).resize((_TILE_PX, _TILE_PX), filter_), (left, high))
        draw.text((left, high + _TILE_PX + 1), texts[number] if texts else str(number + 1), _MUTED, font)
    with atomic(path, parents=True) as temporary:
        sheet.save(temporary, "PNG")


def _wrapped(text: str, fits: Callable[[str], bool]) -> list[str]:
    """The text broken into lines that fit."""
    lines = [""]
    for word in text.split():
        longer = f"{lines[-1]} {word}".strip()
        lines[-1:] = [longer] if fits(longer) or not lines[-1] else [lines[-1], word]
    return lines
