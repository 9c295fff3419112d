"""Any map-style data set whose items are images, pairs of image and label, or dictionaries of both."""

from __future__ import annotations

import os
import struct
from collections.abc import Iterator, Mapping
from contextlib import suppress
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torch.utils.data import DataLoader, IterableDataset

from understudy.core.arguments import has
from understudy.core.errors import DataError
from understudy.core.types import Observe
from understudy.data.decode import (
    MAX_PIXELS,
    Pixels,
    UnreadableImageError,
    is_gray,
    open_bytes,
    to_canvas,
    wide_kind,
    wide_values,
)
from understudy.data.sizing import Form, choose_form
from understudy.data.sources.arrays import range_of, read_arrays, to_bytes, to_channels_first
from understudy.data.sources.labels import object_labels
from understudy.data.sources.values import to_numpy
from understudy.data.table import Table, to_names
from understudy.data.value_ranges import OutOfRangeError, Range, Ranges, extent, kind_of

IMAGE_KEYS = ("image", "img", "pixel_values", "images", "picture", "photo", "x")
LABEL_KEYS = (
    "label", "labels", "fine_label", "target", "targets", "class", "category", "y", "label_id", "labels_id", "class_id",
    "category_id",
)  # fmt: skip
# Images read to find the size; images read twice to find randomness, which a flip with a chance of a half escapes in
# 24 images once in 17 million.
_NUM_SAMPLES, _NUM_REPEATS = 64, 24
_MAX_WRAPPED = 100  # data sets inside one another; an object that makes up attributes would never end
_RANDOM = ("Random", "Jitter", "AutoAugment", "TrivialAugment", "AugMix", "Shuffle", "Noise")

# What a loader raises for a damaged file; Pillow raises more, such as a ValueError for a huge text in a PNG.
_DAMAGED = (
    OSError,
    SyntaxError,
    EOFError,
    struct.error,
    Image.DecompressionBombError,
    UnreadableImageError,
    OutOfRangeError,
)


def is_dataset(source: Any) -> bool:
    """Whether items can be read from it by position, and it is not an array or a list."""
    return has(source, "__getitem__") and not isinstance(
        source, (str, bytes, bytearray, range, list, tuple, dict, np.ndarray, Tensor)
    )


def check_readable(source: Any) -> None:
    """Refuse a data set whose items cannot be read in any order.

    Raises:
        DataError: It is a loader of batches or a stream; the sentence says what to give.
    """
    if isinstance(source, DataLoader):
        raise DataError("a DataLoader gives batches; give the data set inside it, loader.dataset")
    if isinstance(source, IterableDataset) or type(source).__name__ in ("IterableDataset", "IterableDatasetDict"):
        raise DataError(
            f"{_name(source)} can only be read in its own order; give a map-style data set, with __len__ and "
            "__getitem__, such as list(dataset)"
        )


def read_dataset(
    dataset: Any,
    *,
    form: Form | None = None,
    size: int | None = None,
    channels: int | None = None,
    observe: Observe | None = None,
    ranges: Ranges | None = None,
) -> Table:
    """All items, each read once.

    Raises:
        DataError: It has no length or items, an item is of no known kind, or two reads of one item differ.
    """
    count = _length(dataset)
    damaged: dict[int, str] = {}  # remembered, as Pillow raises only once for a picture that cannot be loaded
    _refuse_random(dataset, count, damaged)
    samples = _samples(dataset, count, damaged)
    if samples and not isinstance(samples[0], (Image.Image, bytes)) and to_numpy(samples[0]).ndim == 1:
        return _read_vectors(dataset, count)
    ranges = ranges or Ranges()
    samples = _measured(samples, ranges)
    if form is None:
        pictures = [_picture(sample, ranges) for sample in samples] or [Image.new("L", (8, 8))]
        gray = all(is_gray(to_canvas(picture, 32, 3, ranges.known)) for picture in pictures[:32])
        form = choose_form([picture.size for picture in pictures], gray, size, channels)
    shape = (count, form.channels, form.canvas, form.canvas)
    try:
        rows = torch.empty(shape, dtype=torch.uint8)
        labels, quarantine, kept = [], [], np.ones(count, np.bool_)
    except (RuntimeError, MemoryError):
        raise _too_many(dataset, count) from None
    for position in range(count):
        try:
            if position in damaged:
                raise UnreadableImageError(damaged[position])
            image, label = _item(dataset, position)
            try:
                rows[position] = torch.from_numpy(_fit(image, form, ranges))
            except DataError as error:
                raise DataError(f"item {position} of {_name(dataset)}: {error}") from None
        except Exception as error:
            if not _is_damage(error):
                raise
            quarantine.append((str(position), _reason(error, dataset, position)))
            kept[position], label = False, None
        labels.append(label)
        if observe is not None and (position % 256 == 255 or position + 1 == count):
            observe(position + 1, count)
    if not kept.any():
        raise DataError(f"none of the {count} items of {_name(dataset)} could be read; the first: {quarantine[0][1]}")
    codes, values = object_labels(labels)
    notes = _unused_keys(dataset, int(np.flatnonzero(kept)[0])) if not values else ()
    table = Table(
        names=to_names(str(position) for position in range(count)),
        images=rows,
        labels=codes,
        values=values,
        classes=_class_names(dataset, values),
        form=form,
        quarantine=tuple(quarantine),
        notes=notes,
    )
    return table.take(kept)


def _too_many(dataset: Any, count: int) -> DataError:
    return DataError(
        f"{_name(dataset)} says it has {count:,} items, which do not fit into memory; give fewer, or a folder"
    )


def _samples(dataset: Any, count: int, damaged: dict[int, str]) -> list[Any]:
    """Some of the images, those that can be read."""
    samples = []
    for position in np.linspace(0, count - 1, min(count, _NUM_SAMPLES)).astype(int).tolist():
        try:
            image = _item(dataset, position)[0]
            if isinstance(image, Image.Image):
                image.load()
            if position not in damaged:
                samples.append(image)
        except Exception as error:
            if not _is_damage(error):
                raise
            damaged[position] = str(error)
    return samples


def _measured(samples: list[Any], ranges: Ranges) -> list[Any]:
    """The samples that can be decoded, once the range of each kind of value among them is known."""
    usable = []
    extents: dict[str, list[Range]] = {}
    in_memory: set[str] = set()
    for sample in samples:
        try:
            image = open_bytes(sample) if isinstance(sample, bytes) else sample
        except UnreadableImageError:
            continue
        usable.append(image)
        kind, values = _wide(image)
        if kind is not None and (found := extent(values)) is not None:
            extents.setdefault(kind, []).append(found)
            if not isinstance(image, Image.Image):
                in_memory.add(kind)
    for kind, measured in extents.items():
        if kind in in_memory:
            range_of(kind, measured, ranges)
        else:
            ranges.of(kind, measured)
    return usable


def _wide(image: Any) -> tuple[str | None, Any]:
    """The kind and the values of an image with more than 8 bits a value; (None, None) for others."""
    if isinstance(image, Image.Image):
        return (None, None) if wide_kind(image) is None else wide_values(image)
    values = to_numpy(image)
    return (kind_of(values.dtype), values) if values.dtype.kind in "iuf" else (None, None)


def _is_damage(error: Exception) -> bool:
    """Whether a damaged file is the cause: the error is of that kind, or Pillow raised it."""
    if isinstance(error, _DAMAGED):
        return True
    trace = error.__traceback__
    while trace is not None and trace.tb_next is not None:
        trace = trace.tb_next
    return trace is not None and str(trace.tb_frame.f_globals.get("__name__", "")).startswith("PIL.")


def _reason(error: Exception, dataset: Any, position: int) -> str:
    """Why an item cannot be read, with its file where the data set knows it, as torchvision's folders do."""
    reason = f"cannot be read: {' '.join(str(error).split())[:120]}"
    with suppress(Exception):
        path = getattr(dataset, "samples", None)[position][0]  # type: ignore[index]
        if isinstance(path, (str, os.PathLike)):
            reason += f" ({os.path.basename(path)})"
    return reason


def _length(dataset: Any) -> int:
    """The number of items.

    Raises:
        DataError: There is none, or it is not known.
    """
    try:
        count = len(dataset)
    except Exception as error:  # a data set's own __len__ can raise anything
        reason = "" if not has(dataset, "__len__") else f" ({type(error).__name__}: {_short(error)})"
        raise DataError(
            f"{_name(dataset)} has no length{reason}; give a map-style data set, with __len__ and __getitem__"
        ) from error
    if not count:
        raise DataError(f"{_name(dataset)} is empty; give at least one item")
    return count


def _item(dataset: Any, position: int) -> tuple[Any, Any]:
    """The image and the label at a position.

    Raises:
        DataError: The data set failed there, as the sentence says; damaged files pass through as they are.
    """
    try:
        item = dataset[position]
    except _DAMAGED:
        raise
    except IndexError as error:
        raise DataError(
            f"{_name(dataset)} says it has {len(dataset)} items and ends before index {position} ({_short(error)}); "
            "make __len__ and __getitem__ agree"
        ) from error
    except Exception as error:  # a data set's own code can raise anything
        if _is_damage(error):
            raise UnreadableImageError(_short(error)) from error
        raise DataError(
            f"{_name(dataset)} failed at index {position} with {type(error).__name__}: {_short(error)}"
        ) from error
    try:
        return _split_item(item)
    except DataError as error:
        raise DataError(f"item {position} of {_name(dataset)}: {error}") from None


def _short(error: BaseException) -> str:
    return " ".join(str(error).split())[:120]


def _unused_keys(dataset: Any, position: int) -> tuple[str, ...]:
    """A note that names the other keys of items that are dictionaries without a label."""
    item = dataset[position]
    others = [str(key) for key in item if key not in (*IMAGE_KEYS, *LABEL_KEYS)] if isinstance(item, Mapping) else []
    if not others:
        return ()
    return (f"no item has a label; not used: {', '.join(others)}; a label must be under 'label'",)


def _read_vectors(dataset: Any, count: int) -> Table:
    try:
        width = len(to_numpy(_item(dataset, 0)[0]))
        np.empty((count, width), np.float32)  # nothing is written to it; it fails where so many rows have no room
        items = [_item(dataset, position) for position in range(count)]
        vectors = [to_numpy(vector) for vector, _ in items]
    except MemoryError:
        raise _too_many(dataset, count) from None
    except _DAMAGED as error:
        raise DataError(f"{_name(dataset)} cannot be read: {_short(error)}") from error
    odd = next((at for at, vector in enumerate(vectors) if vector.shape != vectors[0].shape), None)
    if odd is not None:
        raise DataError(
            f"item {odd} of {_name(dataset)} has the shape {vectors[odd].shape} and item 0 {vectors[0].shape}; give "
            "vectors of one length"
        )
    table = read_arrays(np.stack(vectors), None)
    codes, values = object_labels([label for _, label in items])
    return Table(
        names=table.names, images=table.images, labels=codes, values=values, classes=_class_names(dataset, values)
    )


def _split_item(item: Any) -> tuple[Any, Any]:
    """The image and the label, None when there is none."""
    if isinstance(item, Mapping):
        key = next((key for key in IMAGE_KEYS if key in item), None)
        if key is None:
            raise DataError(
                f"it has the keys {', '.join(map(str, item))}; the image must be under 'image' or 'img', the label "
                "under 'label'"
            )
        return _encoded(item[key]), next((item[key] for key in LABEL_KEYS if key in item), None)
    if isinstance(item, (tuple, list)):
        if len(item) not in (1, 2):
            raise DataError(f"it has {len(item)} parts; give (image, label), or the image alone")
        return _encoded(item[0]), (item[1] if len(item) == 2 else None)
    return _encoded(item), None


def _encoded(image: Any) -> Any:
    """The image; of the dictionaries that Hugging Face makes of undecoded images, the bytes."""
    found = image.get("bytes") if isinstance(image, Mapping) else None
    return image if found is None else found


def _fit(image: Any, form: Form, ranges: Ranges) -> Pixels:
    if isinstance(image, bytes):
        image = open_bytes(image)
    if isinstance(image, Image.Image) and image.width * image.height > MAX_PIXELS:
        raise UnreadableImageError(f"{image.width} x {image.height} pixels are over the limit")
    kind, values = _wide(image)
    if kind is not None and kind not in ranges.used:  # a kind that no sample had
        ranges.of(kind, [found] if (found := extent(values)) is not None else [])
    return to_canvas(_picture(image, ranges), form.canvas, form.channels, ranges.known)


def _picture(image: Any, ranges: Ranges) -> Image.Image:
    if isinstance(image, Image.Image):
        return image
    values = to_numpy(image)
    if values.ndim not in (2, 3):
        raise DataError(f"an item's image is {type(image).__name__} of shape {values.shape}; give h w, h w c or c h w")
    pixels = to_channels_first(to_bytes(values[None], ranges), prefer_first=isinstance(image, Tensor))[0]
    return Image.fromarray(pixels[0] if len(pixels) == 1 else np.ascontiguousarray(pixels.transpose(1, 2, 0)))


def _refuse_random(dataset: Any, count: int, damaged: dict[int, str]) -> None:
    """Refuse a data set that gives two results for one index, tried on some items.

    Raises:
        DataError: It does not; the transform to remove is named where the data set shows it.
    """
    for position in np.linspace(0, count - 1, min(count, _NUM_REPEATS)).astype(int).tolist():
        try:
            first, second = (_item(dataset, position)[0] for _ in range(2))
            for picture in (first, second):
                if isinstance(picture, Image.Image):
                    picture.load()  # of a picture that cannot be loaded, NumPy would make an array of objects
        except Exception as error:
            if not _is_damage(error):
                raise
            damaged[position] = str(error)
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
    found = {type(item).__name__ for item in _wrapped(dataset, ("transform", "transforms")) if item is not dataset}
    return sorted(name for name in found if any(word in name for word in _RANDOM))[:10]


def _wrapped(dataset: Any, attributes: tuple[str, ...] = ()) -> Iterator[Any]:
    """The data set and what it is made of, the outermost first: of a Subset, a ConcatDataset or a wrapper like these.

    Args:
        attributes: Further attributes to follow.
    """
    queue, seen = [dataset], {id(dataset)}
    while queue and len(seen) < _MAX_WRAPPED:
        item = queue.pop(0)
        yield item
        for attribute in ("dataset", "datasets", *attributes):
            inner = getattr(item, attribute, None) if has(item, attribute) else None
            for one in inner if isinstance(inner, (list, tuple)) else () if inner is None else (inner,):
                if id(one) not in seen:
                    seen.add(id(one))
                    queue.append(one)


def _class_names(dataset: Any, values: tuple[object, ...]) -> tuple[str, ...]:
    """The names that the data set, or one that it wraps, gives to its class numbers, else the labels as text.

    Raises:
        DataError: The data sets it joins give different names to one number.
    """
    numbers = [value for value in values if isinstance(value, int) and not isinstance(value, bool) and value >= 0]
    if not numbers or len(numbers) < len(values):
        return tuple(str(value) for value in values)
    found = [names for item in _wrapped(dataset) if (names := _own_names(item)) and len(names) > max(numbers)]
    for names in found:
        for number in numbers:
            if names[number] != found[0][number]:
                raise DataError(
                    f"{_name(dataset)} joins data sets in which label {number} means {found[0][number]!r} and "
                    f"{names[number]!r}; give them the same classes in the same order"
                )
    return tuple(found[0][number] if found else str(number) for number in numbers)


def _own_names(dataset: Any) -> list[str]:
    """The names of the classes by their numbers, as torchvision and Hugging Face keep them; none if unknown."""
    names = dataset.classes if has(dataset, "classes") else None
    features = dataset.features if has(dataset, "features") else None
    if isinstance(features, Mapping):
        names = next((getattr(features[key], "names", None) for key in LABEL_KEYS if key in features), None)
    return [str(name) for name in names] if isinstance(names, (list, tuple)) else []


def _name(dataset: Any) -> str:
    return f"data set {type(dataset).__name__}"
