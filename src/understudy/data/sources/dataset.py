"""Any map-style data set whose items are images, pairs of image and label, or dictionaries of both."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import suppress
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from understudy.core.errors import DataError
from understudy.data.decode import Pixels, UnreadableImageError, decode_bytes, is_gray, to_canvas
from understudy.data.sizing import Form, choose
from understudy.data.sources.arrays import object_labels, read_arrays, to_bytes, to_channels_first, to_numpy
from understudy.data.table import Table, to_names

_IMAGE_KEYS = ("image", "img", "pixel_values")
_LABEL_KEYS = ("label", "labels", "fine_label", "target")
_NUM_SAMPLES, _NUM_REPEATS = 64, 24
_RANDOM = ("Random", "Jitter", "AutoAugment", "TrivialAugment", "AugMix", "Shuffle", "Noise")

_DAMAGED = (OSError, SyntaxError, UnreadableImageError)  # what a loader raises for a damaged file

Observe = Callable[[int, int], None]


def is_dataset(source: Any) -> bool:
    """Whether items can be read from it by position, and it is not an array or a list."""
    return hasattr(source, "__getitem__") and not isinstance(source, (str, list, tuple, dict, np.ndarray, Tensor))


def read_dataset(
    dataset: Any,
    *,
    form: Form | None = None,
    size: int | None = None,
    channels: int | None = None,
    observe: Observe | None = None,
) -> Table:
    """All items, each read once.

    Raises:
        DataError: It has no length or items, an item is of no known kind, or two reads of one item differ.
    """
    if not hasattr(dataset, "__len__"):
        raise DataError(f"{_name(dataset)} has no length; give a map-style data set, with __len__ and __getitem__")
    count = len(dataset)
    if not count:
        raise DataError(f"{_name(dataset)} is empty; give at least one item")
    _refuse_random(dataset, count)
    samples = _samples(dataset, count)
    if samples and not isinstance(samples[0], (Image.Image, bytes)) and to_numpy(samples[0]).ndim == 1:
        return _read_vectors(dataset, count)
    if form is None:
        pictures = [_picture(sample) for sample in samples] or [Image.new("L", (8, 8))]
        gray = all(is_gray(to_canvas(picture, 32, 3)) for picture in pictures[:32])
        form = choose([picture.size for picture in pictures], gray, size, channels)
    rows = torch.empty((count, form.channels, form.canvas, form.canvas), dtype=torch.uint8)
    labels, quarantine, kept = [], [], np.ones(count, np.bool_)
    for position in range(count):
        try:
            image, label = _split_item(dataset[position])
            rows[position] = torch.from_numpy(_fit(image, form))
        except _DAMAGED as error:
            quarantine.append((str(position), f"cannot be read: {' '.join(str(error).split())[:120]}"))
            kept[position], label = False, None
        labels.append(label)
        if observe is not None and (position % 256 == 255 or position + 1 == count):
            observe(position + 1, count)
    if not kept.any():
        raise DataError(f"none of the {count} items of {_name(dataset)} could be read; the first: {quarantine[0][1]}")
    codes, values = object_labels(labels)
    table = Table(
        names=to_names(str(position) for position in range(count)),
        images=rows,
        labels=codes,
        values=values,
        classes=_class_names(dataset, values),
        form=form,
        quarantine=tuple(quarantine),
    )
    return table.take(kept)


def _samples(dataset: Any, count: int) -> list[Any]:
    """Some of the images, those that can be read."""
    samples = []
    for position in np.linspace(0, count - 1, min(count, _NUM_SAMPLES)).astype(int).tolist():
        with suppress(*_DAMAGED):
            samples.append(_split_item(dataset[position])[0])
    return samples


def _read_vectors(dataset: Any, count: int) -> Table:
    items = [_split_item(dataset[position]) for position in range(count)]
    table = read_arrays(np.stack([to_numpy(vector) for vector, _ in items]), None)
    codes, values = object_labels([label for _, label in items])
    return Table(names=table.names, images=table.images, labels=codes, values=values)


def _split_item(item: Any) -> tuple[Any, Any]:
    """The image and the label, None when there is none."""
    if isinstance(item, Mapping):
        keys = [key for key in _IMAGE_KEYS if key in item]
        if not keys:
            raise DataError(
                f"items have the keys {', '.join(map(str, item))}; the image must be under 'image' or 'img'"
            )
        label = next((item[key] for key in _LABEL_KEYS if key in item), None)
        return item[keys[0]], label
    if isinstance(item, (tuple, list)):
        if len(item) not in (1, 2):
            raise DataError(f"items have {len(item)} parts; give (image, label), or the image alone")
        return item[0], (item[1] if len(item) == 2 else None)
    return item, None


def _fit(image: Any, form: Form) -> Pixels:
    if isinstance(image, bytes):
        return decode_bytes(image, form.canvas, form.channels)
    return to_canvas(_picture(image), form.canvas, form.channels)


def _picture(image: Any) -> Image.Image:
    if isinstance(image, Image.Image):
        return image
    if isinstance(image, bytes):
        return Image.fromarray(decode_bytes(image, 64, 3).transpose(1, 2, 0))
    values = to_numpy(image)
    if values.ndim not in (2, 3):
        raise DataError(f"an item's image is {type(image).__name__} of shape {values.shape}; give h w, h w c or c h w")
    pixels = to_channels_first(to_bytes(values)[0][None], prefer_first=isinstance(image, Tensor))[0]
    return Image.fromarray(pixels[0] if len(pixels) == 1 else np.ascontiguousarray(pixels.transpose(1, 2, 0)))


def _refuse_random(dataset: Any, count: int) -> None:
    """Nothing, when reading an item twice gives the same result, tried on some.

    Raises:
        DataError: It does not; the transform to remove is named where the data set shows it.
    """
    for position in np.linspace(0, count - 1, min(count, _NUM_REPEATS)).astype(int).tolist():
        try:
            first, second = (_split_item(dataset[position])[0] for _ in range(2))
        except _DAMAGED:
            continue
        if isinstance(first, bytes):
            same = bool(first == second)
        else:
            one, two = (
                np.asarray(item) if isinstance(item, Image.Image) else to_numpy(item) for item in (first, second)
            )
            same = one.shape == two.shape and bool(np.array_equal(one, two, equal_nan=one.dtype.kind == "f"))
        if not same:
            found = _random_transforms(dataset)
            remove = f"the transform {', '.join(found)}" if found else "its random transform"
            raise DataError(
                f"{_name(dataset)} gives two different results for index {position}; remove {remove}: "
                "images are stored once, and augmented anew in every batch"
            )


def _random_transforms(dataset: Any) -> list[str]:
    """Names of the random transforms found in the data set and the ones it wraps."""
    found: list[str] = []
    queue = [dataset]
    while queue and len(found) < 10:
        item = queue.pop(0)
        name = type(item).__name__
        if item is not dataset and any(word in name for word in _RANDOM):
            found.append(name)
            continue
        for attribute in ("dataset", "transform", "transforms"):
            inner = getattr(item, attribute, None)
            queue.extend(inner if isinstance(inner, (list, tuple)) else [] if inner is None else [inner])
    return sorted(set(found))


def _class_names(dataset: Any, values: tuple[object, ...]) -> tuple[str, ...]:
    """The names that the data set gives to its class numbers, else the labels as text."""
    names = getattr(dataset, "classes", None)
    features = getattr(dataset, "features", None)
    if isinstance(features, Mapping):
        names = next((getattr(features[key], "names", None) for key in _LABEL_KEYS if key in features), None)
    if names is None or not all(isinstance(value, int) and 0 <= value < len(names) for value in values):
        return tuple(str(value) for value in values)
    return tuple(str(names[value]) for value in values if isinstance(value, int))


def _name(dataset: Any) -> str:
    return f"data set {type(dataset).__name__}"
