"""NumPy arrays and tensors: images or vectors with labels, where -1 means unlabeled."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from jaxtyping import UInt8
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from understudy.core.errors import DataError
from understudy.data.collection import Rows
from understudy.data.decode import Pixels, to_canvas
from understudy.data.sizing import Form, choose
from understudy.data.sources.labels import read_labels
from understudy.data.sources.values import to_numpy
from understudy.data.table import Table, to_names


def read_arrays(
    images: Any, labels: Any, *, form: Form | None = None, size: int | None = None, channels: int | None = None
) -> Table:
    """The rows of X, with the labels y when they are given.

    Args:
        images: uint8 images, or floats in [0, 1] or [0, 255], as [n h w], [n h w c] or [n c h w]; or vectors [n d].
        labels: As `read_labels` takes them.
        form: The form that rows already read have, which these must take too.

    Raises:
        DataError: The shapes, types or values are none of these.
    """
    rows, notes = _rows(images)
    codes, values = read_labels(labels, len(rows))
    if rows.ndim == 4:
        pairs = [(rows.shape[3], rows.shape[2])]
        form = form or choose(pairs, rows.shape[1] == 1 or _is_gray(rows), size, channels)
        rows = conform(rows, form)
    elif size is not None or channels is not None:
        raise DataError("size and channels are for images, but the rows given are vectors; leave them out")
    return Table(
        names=to_names(np.arange(len(rows)).astype(object).astype(str)),
        images=rows,
        labels=codes,
        values=values,
        form=form if rows.ndim == 4 else None,
        notes=tuple(notes),
    )


def conform(rows: UInt8[Tensor, "n c h w"], form: Form) -> UInt8[Tensor, "n d s s"]:
    """The images on the form's canvas and with its channels; the same tensor when they are so already."""
    shape = (form.channels, form.canvas, form.canvas)
    if rows.shape[1:] == shape:
        return rows
    if rows.shape[2:] == shape[1:] and rows.shape[1] == 1:
        return rows.expand(-1, form.channels, -1, -1).contiguous()
    result = torch.empty((len(rows), *shape), dtype=torch.uint8)
    for position, row in enumerate(rows.numpy()):
        picture = Image.fromarray(row[0] if len(row) == 1 else np.ascontiguousarray(row.transpose(1, 2, 0)))
        result[position] = torch.from_numpy(to_canvas(picture, form.canvas, form.channels))
    return result


def to_bytes(values: NDArray[Any]) -> tuple[Pixels, float]:
    """Pixel values as uint8, and the value that became 255.

    Raises:
        DataError: They are neither whole numbers nor floats of a known range.
    """
    if values.dtype == np.uint8:
        return values, 255.0
    if values.dtype == np.bool_:
        return values.astype(np.uint8) * np.uint8(255), 1.0
    if values.dtype.kind not in "iuf":
        raise DataError(f"images are of type {values.dtype}; give uint8, or floats from 0 to 1")
    low, high = (float(values.min()), float(values.max())) if values.size else (0.0, 0.0)
    if not np.isfinite([low, high]).all():
        raise DataError("images hold NaN or infinite values; give uint8, or floats from 0 to 1")
    whole = values.dtype.kind in "iu"
    # Of 16-bit images the type decides, or a dark one would be read in another scale than its neighbors.
    scale = 65535.0 if values.dtype == np.uint16 else 255.0 if whole or high > 1 else 1.0
    if low < 0 or high > scale:
        raise DataError(
            f"images hold values from {low:.4g} to {high:.4g}; give uint8 or floats from 0 to 1, "
            "without Normalize: the network normalizes"
        )
    return np.round(values * (255 / scale)).astype(np.uint8), scale


def to_channels_first(values: NDArray[Any], *, prefer_first: bool) -> NDArray[Any]:
    """Images [n h w], [n h w c] or [n c h w] as [n c h w]; `prefer_first` decides where both are possible.

    Raises:
        DataError: No axis can be that of 1 or 3 channels.
    """
    if values.ndim == 3:
        return values[:, None]
    first, last = values.shape[1] in (1, 3), values.shape[3] in (1, 3)
    if not first and not last:
        raise DataError(f"images have the shape {values.shape}; give n h w, n h w c or n c h w with 1 or 3 channels")
    return values if first and (prefer_first or not last) else values.transpose(0, 3, 1, 2)


def _rows(images: Any) -> tuple[Rows, list[str]]:
    values = to_numpy(images)
    if values.dtype.kind == "O":
        raise DataError(f"images cannot be read from {type(images).__name__} of objects; give numbers, paths or images")
    if not len(values.shape) or not values.size:
        raise DataError(f"the array of images is empty: its shape is {values.shape}; give at least one row of values")
    if values.ndim == 2:
        return _vectors(values), []
    if values.ndim not in (3, 4):
        raise DataError(
            f"the array has the shape {values.shape}; give images n h w, n h w c or n c h w, or vectors n d"
        )
    pixels, scale = to_bytes(values)
    notes = []
    if scale == 255 and 1 < int(pixels.max()) < 64:
        notes.append(
            f"the brightest pixel is {pixels.max()} of 255; if that is meant to be white, scale the images to [0, 1]"
        )
    pixels = to_channels_first(pixels, prefer_first=isinstance(images, Tensor))
    # A tensor would warn about an array that is read-only; the rows are never written to, but it cannot know.
    pixels = np.ascontiguousarray(pixels)
    return torch.from_numpy(pixels if pixels.flags.writeable else pixels.copy()), notes


def _vectors(values: NDArray[Any]) -> Tensor:
    if values.dtype.kind not in "iufb":
        raise DataError(f"vectors are of type {values.dtype}; give numbers")
    rows = np.ascontiguousarray(values, np.float32)
    if not np.isfinite(rows).all():
        raise DataError("vectors hold NaN or infinite values; fill in or leave out these rows")
    return torch.from_numpy(rows if rows.flags.writeable else rows.copy())


def _is_gray(rows: UInt8[Tensor, "n c h w"]) -> bool:
    some = rows[:: max(1, len(rows) // 64)]
    return bool((some[:, :1] == some).all())
