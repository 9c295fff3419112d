"""NumPy arrays and tensors: images or vectors with labels, where -1 means unlabeled."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
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
from understudy.data.sizing import Form, choose_form
from understudy.data.sources.labels import read_labels
from understudy.data.sources.values import to_numpy
from understudy.data.table import Table, to_names
from understudy.data.value_ranges import (
    NUM_MEASURED,
    OutOfRangeError,
    Range,
    Ranges,
    choose_range,
    extent,
    kind_of,
    to_uint8,
)


def read_arrays(
    images: Any,
    labels: Any,
    *,
    form: Form | None = None,
    size: int | None = None,
    channels: int | None = None,
    ranges: Ranges | None = None,
) -> Table:
    """The rows of X, with the labels y when they are given.

    Args:
        images: uint8 or 16-bit images, or floats in [0, 1], [-1, 1] or [0, 255], as [n h w], [n h w c] or [n c h w];
            or vectors [n d].
        labels: As `read_labels` takes them.
        form: The form that rows already read have, which these must take too.
        ranges: Those of rows already read, or of the model; measured on these rows if None.

    Raises:
        DataError: The shapes, types or values are none of these.
    """
    rows, notes = _rows(images, ranges or Ranges())
    codes, values = read_labels(labels, len(rows))
    if rows.ndim == 4:
        pairs = [(rows.shape[3], rows.shape[2])]
        form = form or choose_form(pairs, rows.shape[1] == 1 or _is_gray(rows), size, channels)
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


def to_bytes(values: NDArray[Any], ranges: Ranges) -> Pixels:
    """Pixel values of images [n ...] as uint8, by the range of their kind.

    Raises:
        DataError: They are neither whole numbers nor floats of a known range.
    """
    if values.dtype == np.uint8:
        return values
    if values.dtype == np.bool_:
        return values.astype(np.uint8) * np.uint8(255)
    if values.dtype.kind not in "iuf":
        raise DataError(f"images are of type {values.dtype}; give uint8, or floats from 0 to 1")
    low, high = (float(values.min()), float(values.max())) if values.size else (0.0, 0.0)
    if not np.isfinite([low, high]).all():
        raise DataError("images hold NaN or infinite values; give uint8, or floats from 0 to 1")
    kind = kind_of(values.dtype)
    assert kind is not None
    black_white = range_of(kind, _extents(values), ranges)
    try:
        return to_uint8(values, kind, black_white)
    except OutOfRangeError:
        raise DataError(
            f"images hold values from {low:.4g} to {high:.4g}, and the model was trained on values from "
            f"{black_white[0]:.4g} to {black_white[1]:.4g}; give the same ones, or uint8"
            if ranges.fixed
            else f"images hold values from {low:.4g} to {high:.4g}, and most of them from {black_white[0]:.4g} to "
            f"{black_white[1]:.4g}; give all images in one unit"
        ) from None


def range_of(kind: str, extents: Iterable[Range], ranges: Ranges) -> Range:
    """The range of values in memory: a usual one, or, as after Normalize, that of the data set.

    Raises:
        DataError: They are whole numbers, some of them negative.
    """
    if kind not in ranges.known and not ranges.fixed:
        ranges.known[kind] = choose_range(kind, list(extents), filled=False)
        low, high = ranges.known[kind]
        if kind != "float" and low != 0:
            raise DataError(f"images hold whole numbers from {low:.4g} to {high:.4g}; give uint8, 16-bit or floats")
    return ranges.of(kind, ())


def _extents(values: NDArray[Any]) -> Iterator[Range]:
    for position in np.linspace(0, len(values) - 1, min(NUM_MEASURED, len(values))).astype(int):
        if (found := extent(values[position])) is not None:
            yield found


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


def _rows(images: Any, ranges: Ranges) -> tuple[Rows, list[str]]:
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
    kind = kind_of(values.dtype) if values.dtype.kind in "iufb" else None
    pixels = to_bytes(values, ranges)
    notes = []
    white = 255.0 if kind is None else ranges.known[kind][1]
    if kind == "float" and ranges.fixed and white >= 255 and float(np.nanmax(values)) <= 1:
        notes.append(f"the largest value is {np.nanmax(values):.3g}; the classifier was trained on values to {white:g}")
    if white == 255 and 1 < int(pixels.max()) < 64:
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
