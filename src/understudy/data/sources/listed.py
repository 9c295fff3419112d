"""Images listed one by one: paths, Pillow images or encoded bytes, in a list, a pandas Series or a DataFrame."""

from __future__ import annotations

import os
import stat
from collections.abc import Sequence
from typing import Any

import numpy as np
from PIL import Image
from torch import Tensor

from understudy.core.arguments import has, path_problem, quoted
from understudy.core.errors import DataError
from understudy.core.types import Observe
from understudy.data.sizing import Form
from understudy.data.sources.arrays import read_arrays
from understudy.data.sources.dataset import LABEL_KEYS, read_dataset
from understudy.data.sources.labels import is_missing, read_labels
from understudy.data.table import Table, to_names
from understudy.data.value_ranges import Ranges

_PATH_COLUMNS = (
    "path",
    "file",
    "filename",
    "file_name",
    "filepath",
    "file_path",
    "image",
    "image_path",
    "img",
    "img_path",
)
_MANIFEST_COLUMNS = ("split", "group", "weight")


class Items:
    """A map-style data set of images in memory and their labels."""

    def __init__(self, images: Sequence[Any], labels: Sequence[Any] | None = None) -> None:
        self.images, self.labels = images, labels

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, position: int) -> tuple[Any, Any]:
        return self.images[position], None if self.labels is None else self.labels[position]


def is_image(item: Any) -> bool:
    """Whether it is one image: a Pillow image or the bytes of a file."""
    return isinstance(item, (Image.Image, bytes, bytearray))


def is_list_of_images(images: Any) -> bool:
    """Whether it lists paths, Pillow images or bytes, not numbers."""
    items = _items(images)
    return bool(items) and _is_single(items[0])


def read_listed(
    images: Any,
    labels: Any = None,
    *,
    form: Form | None = None,
    size: int | None = None,
    channels: int | None = None,
    observe: Observe | None = None,
    ranges: Ranges | None = None,
    distinct: bool = True,
) -> Table:
    """The images X, with the labels y when they are given: numbers, paths, or images of any size.

    Args:
        images: An array, tensor or sparse matrix as `read_arrays` takes it; or a list, Series or array of paths, of
            Pillow images or of bytes; or a list of pairs of one of these and a label; or a DataFrame with a column of
            paths and one of labels.
        distinct: Whether a path that is listed more than once becomes one row.

    Raises:
        DataError: It is none of these, or the labels do not fit.
    """
    if has(images, "columns") and has(images, "iloc") and labels is None:
        images, labels = _from_frame(images)
    items = _items(images)
    if labels is None and items and all(_is_pair(item) for item in items):
        items, labels = [item[0] for item in items], [item[1] for item in items]
    if not items or not _is_single(items[0]):
        return read_arrays(images, labels, form=form, size=size, channels=channels, ranges=ranges)
    if all(isinstance(item, (str, os.PathLike)) for item in items):
        return read_paths(items, labels, distinct=distinct)
    for position, item in enumerate(items):
        if not _is_single(item) or isinstance(item, (str, os.PathLike)):
            raise DataError(
                f"item {position} is {type(item).__name__} and item 0 is {type(items[0]).__name__}; give paths alone, "
                "or images alone"
            )
    codes, values = read_labels(labels, len(items))
    plain = [None if code < 0 else values[code] for code in codes.tolist()]
    encoded = [bytes(item) if isinstance(item, bytearray) else item for item in items]
    return read_dataset(Items(encoded, plain), form=form, size=size, channels=channels, observe=observe, ranges=ranges)


def read_paths(paths: Sequence[Any], labels: Any = None, *, distinct: bool = True) -> Table:
    """The image files at these paths.

    Args:
        distinct: Whether a path that is listed more than once, with one label, becomes one row; else every listed path
            is a row, in the given order.

    Raises:
        DataError: A path cannot be one, is no regular file, or has two labels.
    """
    names = [check_path(path, f"path {position}") for position, path in enumerate(paths)]
    codes, values = read_labels(labels, len(names))
    first: dict[str, int] = {}
    kept = np.zeros(len(names), np.bool_)
    files = []
    for position, name in enumerate(names):
        files.append(os.path.abspath(os.path.expanduser(name)))
        before = first.setdefault(files[-1], position)
        kept[position] = before == position
        if distinct and codes[before] != codes[position]:
            raise DataError(f"{name!r} is at rows {before} and {position} with different labels; keep one of them")
        if kept[position] and _is_special(files[-1]):
            raise DataError(f"path {position}, {name!r}, is a folder or device; give image files")
    table = Table(names=to_names(names), images=to_names(files), labels=codes, values=values)
    if not distinct:
        return table
    table = table.take(kept)
    repeated = len(names) - int(kept.sum())
    return table.noting(f"{repeated} paths are listed more than once and count once") if repeated else table


def check_path(path: Any, name: str) -> str:
    """The path as text, once it can be one.

    Raises:
        DataError: It is empty or too long, holds a NUL character, or cannot be written as UTF-8.
    """
    problem = path_problem(path)
    if problem is None and not os.fspath(path).isprintable() and not _is_utf8(os.fspath(path)):
        problem = "is not valid UTF-8"
    if problem:
        raise DataError(f"{name} {quoted(path)} {problem}; give the path of an image, a folder or a manifest")
    return os.fspath(path)  # type: ignore[no-any-return]


def _is_utf8(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def _is_special(path: str) -> bool:
    """Whether there is something that is no regular file; one that is missing is reported as unreadable later."""
    try:
        return not stat.S_ISREG(os.stat(path).st_mode)
    except (OSError, ValueError):
        return False


def _is_single(item: Any) -> bool:
    return is_image(item) or isinstance(item, (str, os.PathLike))


def _is_pair(item: Any) -> bool:
    return isinstance(item, (tuple, list)) and len(item) == 2 and _is_single(item[0])


def _items(images: Any) -> list[Any]:
    """The elements of a list, or of a one-dimensional array or Series of objects or texts; none of numbers."""
    if isinstance(images, (list, tuple)):
        return list(images)
    if isinstance(images, Tensor) or not has(images, "__array__") or is_image(images):
        return []
    if getattr(images, "ndim", 0) != 1 or getattr(getattr(images, "dtype", None), "kind", "O") not in "OUST":
        return []
    return list(np.asarray(images, dtype=object))


def _from_frame(frame: Any) -> tuple[Any, Any]:
    """The paths and labels of a DataFrame, or the frame itself when it holds numbers.

    Raises:
        DataError: It holds texts and no column of paths, or a column that only a manifest file can have.
    """
    columns = {str(name).strip().lower(): name for name in frame.columns}
    found = next((columns[name] for name in _PATH_COLUMNS if name in columns), None)
    paths = [] if found is None else list(np.asarray(frame[found], dtype=object))
    if not paths or not all(isinstance(path, (str, os.PathLike)) or is_missing(path) for path in paths):
        if all(getattr(kind, "kind", "O") in "iufb" for kind in frame.dtypes):
            return frame.to_numpy(), None
        names = ", ".join(map(str, frame.columns))
        raise DataError(f"the DataFrame has the columns {names}; name the column of image paths 'path'")
    if missing := [position for position, path in enumerate(paths) if is_missing(path)]:
        raise DataError(f"row {missing[0]} of the DataFrame has no path; leave out such rows")
    if special := [str(columns[name]) for name in _MANIFEST_COLUMNS if name in columns]:
        raise DataError(
            f"column {special[0]!r} of a DataFrame is not read; write it with to_csv and give the path of the manifest"
        )
    label = next((columns[name] for name in LABEL_KEYS if name in columns), None)
    return paths, None if label is None else frame[label]
