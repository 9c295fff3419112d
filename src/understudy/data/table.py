"""The table of a source's images before any is decoded, and the union of several tables."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from understudy.core.errors import DataError
from understudy.data.collection import UNLABELED, Names, Part
from understudy.data.sizing import Form


def to_names(values: Iterable[str] | NDArray[np.object_]) -> Names:
    """The texts as an array that holds no Python object per row."""
    values = values if isinstance(values, np.ndarray) else list(values)
    return np.asarray(values, dtype=np.dtypes.StringDType())


@dataclass(frozen=True, eq=False)
class Table:
    """The rows of one source.

    Args:
        names: One distinct text per row.
        images: Absolute paths of files still to be decoded, or the rows themselves.
        labels: Index into `values`, or -1.
        values: Labels as written, in class order.
        classes: Their names, when these are not simply the labels as text.
        groups: Group of each row; the empty text is a group of its own.
        form: Size and channels, when `images` are images already decoded.
        hashes: Of each row's bytes, once there are rows.
        sizes: Width and height of each image in its file, once decoded from one; 0 where there is no file.
    """

    names: Names
    images: Names | Tensor
    labels: NDArray[np.int64]
    values: tuple[object, ...] = ()
    classes: tuple[str, ...] = ()
    parts: NDArray[np.uint8] = field(default_factory=lambda: np.empty(0, np.uint8))
    groups: Names | None = None
    weights: NDArray[np.float32] = field(default_factory=lambda: np.empty(0, np.float32))
    form: Form | None = None
    quarantine: tuple[tuple[str, str], ...] = ()
    notes: tuple[str, ...] = ()
    hashes: NDArray[np.uint64] | None = None
    sizes: NDArray[np.int32] | None = None

    def __post_init__(self) -> None:
        count = len(self.names)
        fill = object.__setattr__
        if not len(self.parts):
            fill(self, "parts", np.full(count, Part.FREE, np.uint8))
        if not len(self.weights):
            fill(self, "weights", np.ones(count, np.float32))
        if not self.classes:
            fill(self, "classes", tuple(str(value) for value in self.values))
        assert len(self.images) == len(self.labels) == len(self.parts) == len(self.weights) == count
        assert len(self.classes) == len(self.values)

    def __len__(self) -> int:
        return len(self.names)

    def take(self, kept: NDArray[np.bool_]) -> Table:
        """The rows where `kept` is true."""
        if kept.all():
            return self
        images = self.images[kept] if isinstance(self.images, np.ndarray) else self.images[np.flatnonzero(kept)]
        return replace(
            self,
            names=self.names[kept],
            images=images,
            labels=self.labels[kept],
            parts=self.parts[kept],
            groups=None if self.groups is None else self.groups[kept],
            weights=self.weights[kept],
            hashes=None if self.hashes is None else self.hashes[kept],
            sizes=None if self.sizes is None else self.sizes[kept],
        )

    def noting(self, *notes: str) -> Table:
        """The same rows with more notes."""
        return replace(self, notes=(*self.notes, *notes))


def encode_labels(values: Sequence[object]) -> tuple[NDArray[np.int64], tuple[object, ...]]:
    """Codes of the given labels, where None and the empty text are -1, and the distinct labels in class order."""
    distinct = class_order({value for value in values if value is not None and value != ""})
    codes = {value: code for code, value in enumerate(distinct)}
    codes[None] = codes[""] = UNLABELED
    return np.fromiter((codes[value] for value in values), np.int64, len(values)), distinct


def class_order(values: Iterable[object]) -> tuple[object, ...]:
    """Distinct labels in the order of their class indices: by number when all are whole numbers, else as text."""
    values = set(values)
    if all(re.fullmatch(r"-?\d+", str(value)) for value in values):
        return tuple(sorted(values, key=lambda value: (int(str(value)), str(value))))
    return tuple(sorted(values, key=str))


def concatenate(tables: Sequence[Table]) -> Table:
    """The rows of all tables in one, with the classes of the first one that has any.

    Raises:
        DataError: A later table has a label that the first does not.
    """
    first = next((table for table in tables if table.classes), tables[0])
    labels = []
    for table in tables:
        known, own = _keys(first, table)
        codes = {key: code for code, key in enumerate(known)}
        used = set(np.unique(table.labels[table.labels >= 0]).tolist())
        if unknown := sorted(table.classes[code] for code in used if own[code] not in codes):
            raise unknown_classes(unknown, first.classes)
        lookup = np.array([codes.get(key, UNLABELED) for key in own] + [UNLABELED], np.int64)
        labels.append(lookup[table.labels])
    groups = None
    if any(table.groups is not None for table in tables):
        groups = np.concatenate([to_names([""] * len(t)) if t.groups is None else t.groups for t in tables])
    hashes, sizes = None, None
    if all(table.hashes is not None for table in tables):
        hashes = np.concatenate([table.hashes for table in tables if table.hashes is not None])
    if any(table.sizes is not None for table in tables):
        sizes = np.concatenate([np.zeros((len(t), 2), np.int32) if t.sizes is None else t.sizes for t in tables])
    return Table(
        names=np.concatenate([table.names for table in tables]),
        images=_join([table.images for table in tables]),
        labels=np.concatenate(labels),
        values=first.values,
        classes=first.classes,
        parts=np.concatenate([table.parts for table in tables]),
        groups=groups,
        weights=np.concatenate([table.weights for table in tables]),
        form=first.form,
        quarantine=tuple(item for table in tables for item in table.quarantine),
        notes=tuple(note for table in tables for note in table.notes),
        hashes=hashes,
        sizes=sizes,
    )


def _keys(first: Table, other: Table) -> tuple[Sequence[object], Sequence[object]]:
    """The keys that match the classes of two tables: names, or numbers if only one of them has names."""
    are_numbers = all(isinstance(value, int) for value in (*first.values, *other.values))
    named = [table.classes != tuple(str(value) for value in table.values) for table in (first, other)]
    if are_numbers and named[0] != named[1]:
        return first.values, other.values
    return first.classes, other.classes


def _join(images: Sequence[Names | Tensor]) -> Names | Tensor:
    if len(images) == 1:
        return images[0]
    tensors = [item for item in images if isinstance(item, Tensor)]
    return torch.cat(tensors) if tensors else np.concatenate([item for item in images if isinstance(item, np.ndarray)])


def unknown_classes(unknown: Sequence[str], known: Sequence[str]) -> DataError:
    """The error for labels that only images outside the training set carry."""
    return DataError(
        f"test or validation images have labels that no training image has: {_list(unknown)}; "
        f"training has: {_list(known)}; use the same class names in both"
    )


def _list(names: Sequence[str], limit: int = 10) -> str:
    rest = f" and {len(names) - limit} more" if len(names) > limit else ""
    return ", ".join(repr(name) for name in names[:limit]) + rest
