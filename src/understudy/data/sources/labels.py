"""Labels as people hold them: names, numbers, one-hot rows, with gaps; -1 marks an unlabeled row."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from understudy.core.arguments import has
from understudy.core.errors import DataError
from understudy.data.collection import UNLABELED
from understudy.data.sources.values import to_numpy
from understudy.data.table import class_order, encode_labels

Encoded = tuple[NDArray[np.int64], tuple[object, ...]]

# What becomes of -1 in an unsigned type, and what other libraries skip: never a class among small numbers.
_MARKERS = (255, 65535, 2**32 - 1, 2**63 - 1)
_MISSING_TYPES = ("NAType", "NaTType")  # pandas' markers, recognized without importing pandas


def read_labels(labels: Any, count: int) -> Encoded:
    """Codes and distinct labels, in class order, of an array-like of labels for so many rows.

    Args:
        labels: Class names or numbers [n] or [n 1], or one-hot rows [n k]; -1, None, NaN, NA and the empty text mean
            unlabeled. The column names of a one-hot table are the class names.

    Raises:
        DataError: They are none of these, or there is not one for each row.
    """
    if labels is None:
        return np.full(count, UNLABELED, np.int64), ()
    given = to_numpy(labels)
    if given.dtype.kind in "US" and not has(labels, "dtype"):
        given = np.asarray(labels, dtype=object)  # NumPy would turn a list's numbers into text without a word
    if given.shape == (count, 1):
        given = given[:, 0]
    if given.ndim == 2 and len(given) == count and given.shape[1] > 1:
        names = [str(name) for name in labels.columns] if hasattr(labels, "columns") else None
        return _one_hot_labels(given, names)
    if given.shape != (count,):
        raise DataError(f"labels have the shape {given.shape} for {count} rows; give one label a row, -1 for unlabeled")
    if given.dtype.kind == "f":
        given = _whole(np.where(np.isnan(given), UNLABELED, given))
    if given.dtype.kind in "iu":
        return _number_labels(given)
    if given.dtype.kind == "b":
        values, codes = np.unique(given, return_inverse=True)
        return codes.astype(np.int64), tuple(values.tolist())
    return object_labels(given.tolist())


def object_labels(given: Sequence[Any]) -> Encoded:
    """Codes and distinct labels of a list of labels of any kind.

    Raises:
        DataError: Numbers and texts are mixed, or a label is neither; the first such position is named.
    """
    plain = [_plain(label, position) for position, label in enumerate(given)]
    kinds = {type(label) for label in plain if label is not None}
    if len(kinds) > 1 or not kinds <= {str, int, bool}:
        names = ", ".join(sorted(kind.__name__ for kind in kinds))
        raise DataError(f"labels are of type {names}; give all as text or all as whole numbers, -1 for unlabeled")
    if kinds == {int}:
        _refuse_markers({label for label in plain if label is not None})
    return encode_labels(plain)


def is_missing(label: Any) -> bool:
    """Whether the value marks a gap: None, NaN, or the NA and NaT of pandas."""
    if label is None or type(label).__name__ in _MISSING_TYPES:
        return True
    return isinstance(label, (float, np.floating)) and bool(label != label)


def _plain(label: Any, position: int) -> Any:
    """The label as text, whole number or bool; None where it says unlabeled."""
    if isinstance(label, (Tensor, np.ndarray, list, tuple)):
        row = to_numpy(label)
        label = row.item() if row.size == 1 else int(_one_hot(np.atleast_2d(row), first=position)[0])
    if isinstance(label, np.generic):
        label = label.item()
    if isinstance(label, bytes):
        label = label.decode("utf-8", "replace")
    if is_missing(label):
        return None
    if isinstance(label, float):
        if label != np.floor(label) or abs(label) > 2**53:  # above, floats skip whole numbers
            raise DataError(f"label {position} is {label}; a label is the name or whole number of a class")
        label = int(label)
    return None if isinstance(label, (str, int)) and label in ("", UNLABELED, str(UNLABELED)) else label


def _whole(given: NDArray[Any]) -> NDArray[np.int64]:
    """The floats as whole numbers."""
    wrong = np.flatnonzero((given != np.floor(given)) | (np.abs(given) > 2**53))
    if len(wrong):
        raise DataError(
            f"labels hold fractions, such as {given[wrong[0]]} at row {wrong[0]}; a label is the name or number of a "
            "class, -1 for unlabeled"
        )
    return given.astype(np.int64)


def _number_labels(given: NDArray[Any]) -> Encoded:
    values, codes = np.unique(given, return_inverse=True)
    distinct = [value for value in values.tolist() if value != UNLABELED]
    _refuse_markers(set(distinct))
    lookup = np.array([UNLABELED if value == UNLABELED else distinct.index(value) for value in values.tolist()])
    return lookup[codes].astype(np.int64), class_order(distinct)


def _refuse_markers(values: set[int]) -> None:
    """Refuse numbers that cannot be class numbers.

    Raises:
        DataError: One is negative, or far above the others and what programs write for "no label".
    """
    # A table may number its classes as it likes, so only a marker beside gapless numbers from 0 is taken for one.
    rest = sorted(value for value in values if value not in _MARKERS)
    markers = [value for value in values if value in _MARKERS] if rest == list(range(len(rest))) and rest[1:] else []
    markers = [value for value in markers if value > len(rest)]
    bad = next((value for value in sorted(values) if value < 0 or value > _MARKERS[-1]), None)
    bad = markers[0] if bad is None and markers else bad
    if bad is not None:
        raise DataError(
            f"labels hold {bad}, which is no usual class number; mark unlabeled rows with -1, and give class names as "
            f"text if {str(bad)!r} is a class"
        )


def _one_hot_labels(given: NDArray[Any], names: list[str] | None) -> Encoded:
    codes = _one_hot(given)
    if names is None:
        return _number_labels(codes)
    return object_labels([None if code < 0 else names[code] for code in codes.tolist()])


def _one_hot(given: NDArray[Any], first: int = 0) -> NDArray[np.int64]:
    """The position of the 1 in each row; -1 for a row of -1 or NaN alone.

    Args:
        first: Number of the first row, for the error.
    """
    if given.dtype.kind == "O":
        given = np.array([[np.nan if is_missing(value) else value for value in row] for row in given])
    if given.dtype.kind not in "iufb":
        raise DataError(f"labels of several columns are of type {given.dtype}; give one label a row, or one-hot rows")
    values = np.nan_to_num(given.astype(np.float64), nan=UNLABELED)
    unlabeled = (values == UNLABELED).all(-1)
    right = ((values == 0) | (values == 1)).all(-1) & (values.sum(-1) == 1)
    wrong = np.flatnonzero(~right & ~unlabeled)
    if len(wrong):
        raise DataError(
            f"label {first + int(wrong[0])} is {given[wrong[0]].tolist()[:10]}, which is not one-hot (one 1, else 0); "
            "give the number of its class: mixed labels and several labels for one image are not supported"
        )
    return np.where(unlabeled, UNLABELED, values.argmax(-1)).astype(np.int64)
