"""Hiding labels of a labeled collection, to measure what a number of labels buys."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field, replace

import numpy as np
from numpy.typing import NDArray

from understudy.core.errors import DataError
from understudy.core.seeding import generator
from understudy.data.collection import UNLABELED, Collection, Part

Ids = NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class HiddenLabels:
    """The vault: labels that training cannot read, for diagnostics alone."""

    _ids: Ids = field(repr=False)
    _labels: Ids = field(repr=False)

    def __len__(self) -> int:
        return len(self._ids)

    def of(self, ids: Ids) -> Ids:
        """The true class of each row, -1 where it was not hidden here."""
        found = np.full(len(ids), UNLABELED, np.int64)
        if len(self._ids):
            at = np.minimum(np.searchsorted(self._ids, ids), len(self._ids) - 1)
            hidden = self._ids[at] == ids
            found[hidden] = self._labels[at[hidden]]
        return found

    def accuracy(self, ids: Ids, labels: Ids) -> float:
        """The share of the rows hidden here whose given label is true; NaN when none of them is."""
        true = self.of(ids)
        hidden = true >= 0
        return float((true[hidden] == np.asarray(labels)[hidden]).mean()) if hidden.any() else float("nan")


def simulate(collection: Collection, num_labels: int, seed: int = 0) -> tuple[Collection, HiddenLabels]:
    """The collection with only so many training labels left, by class in proportion, and the labels that were hidden.

    Labels of test and validation images stay. Each class keeps at least one label.

    Raises:
        DataError: There are fewer labels than asked for, or fewer are asked for than there are classes.
    """
    training = (collection.parts == Part.FREE) | (collection.parts == Part.TRAIN)
    ids = np.flatnonzero(training & (collection.labels >= 0))
    labels = collection.labels[ids]
    counts = np.bincount(labels, minlength=len(collection.classes))
    num_classes = int((counts > 0).sum())
    if not num_classes <= num_labels <= len(ids):
        raise DataError(
            f"{num_labels} labels cannot be kept: give a number from {num_classes}, one per class, "
            f"to {len(ids)}, the labels of the training images"
        )
    random = generator("simulate", seed)
    quota = _in_proportion(counts, num_labels, random)
    shuffled = random.permutation(len(ids))
    shuffled = shuffled[np.argsort(labels[shuffled], kind="stable")]
    rank = np.arange(len(ids)) - np.searchsorted(labels[shuffled], labels[shuffled])
    hidden = np.sort(shuffled[rank >= quota[labels[shuffled]]])
    vault = HiddenLabels(ids[hidden], labels[hidden])
    left = collection.labels.copy()
    left[ids[hidden]] = UNLABELED
    content = hashlib.blake2b(collection.content.encode() + left.tobytes(), digest_size=16).hexdigest()
    note = f"{num_labels} of {len(ids)} training labels are kept, the others hidden"
    return replace(collection, labels=left, content=content, notes=(*collection.notes, note)), vault


def _in_proportion(counts: Ids, total: int, random: np.random.Generator) -> Ids:
    """Whole numbers that sum to the total, in proportion to the counts, none over its count, each at least 1."""
    ideal = counts * (total / counts.sum())
    quota: Ids = np.maximum(np.minimum(counts, 1), np.floor(ideal).astype(np.int64))
    tie = random.random(len(counts))
    while (excess := int(quota.sum()) - total) != 0:
        # Give to the class furthest below its due, or take from the one furthest above; chance settles ties.
        due = ideal - quota
        open_ = (quota < counts) if excess < 0 else (quota > 1)
        order = np.lexsort((tie, -due if excess < 0 else due))
        order = order[open_[order]]
        quota[order[: abs(excess)]] += 1 if excess < 0 else -1
    return quota
