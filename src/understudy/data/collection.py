"""The one thing every part of training reads from: rows of one shape, and what is known about each of them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from enum import IntEnum
from typing import Any, TypeAlias

import numpy as np
from jaxtyping import Float, UInt8
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import Dataset

from understudy.augment import DOMAINS, render
from understudy.core.brief import Brief, listing
from understudy.core.errors import DataError, nearest
from understudy.core.text import agree, counted
from understudy.data.value_ranges import Range

Names: TypeAlias = NDArray[Any]  # of NumPy's StringDType, which holds no Python object per row
Rows: TypeAlias = UInt8[Tensor, "n c h w"] | Float[Tensor, "n ..."]

UNLABELED = -1  # scikit-learn's mark of a row without label


class Part(IntEnum):
    """What the source itself says a row is for: `FREE` when it says nothing, `LEFT_OUT` when it is for nothing."""

    FREE = 0
    TRAIN = 1
    VALIDATION = 2
    TEST = 3
    LEFT_OUT = 4
    PSEUDO = 5  # a training row whose label comes from a model: it is never held out


@dataclass(frozen=True, eq=False, repr=False)
class Collection(Brief):
    """All images (or vectors) of a task, labeled or not, in one order.

    Args:
        rows: uint8 images on a square canvas, memory-mapped when they come from files, or float32 vectors.
            They are shared and never written to.
        names: One distinct text per row: the path below the source's folder, or the position.
        labels: Index into `classes`, or -1 for unlabeled.
        classes: Class names.
        values: The labels as the user wrote them, in the order of `classes`.
        parts: `Part` of each row.
        groups: Rows of one group never straddle a split; -1 is a group of its own.
        weights: How much a labeled row counts.
        size: Side in px at which images are trained, at most the canvas; None for vectors.
        quarantine: (name, reason) of files that were skipped.
        notes: Sentences about what was recognized, ignored or assumed.
        content: Text that differs when anything above does.
        copies: The number of each row's group of byte-identical rows, -1 for a row without a copy; None if not known.
        sizes: Width and height of each image in its file, 0 for a row that came from none; None for arrays.
        ranges: The values that became 0 and 255, for each kind of value with more than 8 bits.
    """

    rows: Rows
    names: Names
    labels: NDArray[np.int64]
    classes: tuple[str, ...]
    values: tuple[object, ...]
    parts: NDArray[np.uint8]
    groups: NDArray[np.int64] | None
    weights: NDArray[np.float32]
    size: int | None
    quarantine: tuple[tuple[str, str], ...] = ()
    notes: tuple[str, ...] = ()
    content: str = ""
    copies: NDArray[np.int64] | None = None
    sizes: NDArray[np.int32] | None = None
    ranges: Mapping[str, Range] = field(default_factory=dict)

    def brief(self) -> tuple[str, ...]:
        """How many rows of which kind and of which classes."""
        labeled = int((self.labels >= 0).sum())
        kind = "images" if self.size is not None else "rows"
        shape = " x ".join(map(str, self.rows.shape[1:]))
        lines = [
            f"{len(self.rows):,} {kind} of {shape}, {labeled:,} of them labeled",
            f"{len(self.classes):,} classes: {listing(self.classes)}",
        ]
        if self.quarantine:
            number = len(self.quarantine)
            files = f"{counted(number, 'file')} {agree(number, 'was', 'were')} skipped"
            lines.append(f"{files}, such as {self.quarantine[0][0]}")
        return (*lines, *self.notes)

    def __post_init__(self) -> None:
        count = len(self.rows)
        assert len(self.names) == len(self.labels) == len(self.parts) == len(self.weights) == count
        assert all(one is None or len(one) == count for one in (self.groups, self.copies, self.sizes))
        assert len(self.classes) == len(self.values)

    def __len__(self) -> int:
        return len(self.rows)

    @property
    def is_images(self) -> bool:
        """Whether rows are images, not vectors."""
        return self.size is not None

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of one row as the network sees it: (channels, size, size), or the vector's."""
        return tuple(self.rows.shape[1:]) if self.size is None else (self.rows.shape[1], self.size, self.size)

    def in_classes(self, classes: Sequence[str]) -> Collection:
        """The same rows with labels that index the given classes, as a trained model knows them.

        Raises:
            DataError: A row carries a label that is not among them.
        """
        used = np.unique(self.labels[self.labels >= 0])
        table = np.full(len(self.classes) + 1, UNLABELED, np.int64)
        for code in used:
            if self.classes[code] not in classes:
                raise DataError(
                    f"class {self.classes[code]!r} is unknown to the model; {nearest(self.classes[code], classes)}"
                )
            table[code] = list(classes).index(self.classes[code])
        return replace(self, labels=table[self.labels], classes=tuple(classes), values=tuple(classes))

    def as_dataset(self) -> LabeledRows:
        """The labeled rows that are not for validation or test, for a training loop of the user's own.

        Raises:
            DataError: There is none.
        """
        held_out = np.isin(self.parts, (Part.VALIDATION, Part.TEST, Part.LEFT_OUT))
        ids = np.flatnonzero((self.labels >= 0) & ~held_out)
        if not len(ids):
            raise DataError("no training image is labeled; give a folder per class, or a manifest with a label column")
        return LabeledRows(self, ids)


class LabeledRows(Dataset[tuple[Tensor, int, float]]):
    """A data set of (image with floats in [0, 1] at the training size, class index, weight)."""

    def __init__(self, collection: Collection, ids: NDArray[np.int64]) -> None:
        self.collection, self.ids = collection, ids

    def __len__(self) -> int:
        return len(self.ids)

    def __getitem__(self, position: int) -> tuple[Tensor, int, float]:
        whole, row = self.collection, int(self.ids[position])
        domain = DOMAINS["natural" if whole.is_images else "vector"]
        nothing = np.zeros((1, 0), np.float32)
        image = render(whole.rows[row : row + 1], "plain", domain, nothing, size=whole.size or 0)[0]
        return image, int(whole.labels[row]), float(whole.weights[row])
