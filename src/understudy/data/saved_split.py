"""A division of labeled images into training, validation and test, to be written down and kept."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from understudy.core.errors import DataError
from understudy.core.seeding import generator
from understudy.core.types import Ids
from understudy.data.collection import Collection, Part
from understudy.data.folds import groups_with_copies
from understudy.data.split import drawn, numbered_groups


def divide(collection: Collection, shares: Mapping[Part, float], seed: int = 0) -> tuple[NDArray[np.uint8], list[str]]:
    """The part of each row after some of the labeled training rows were drawn for other parts, and notes on classes.

    Of every class about the share is drawn, at least one row, and at least one is left to train; a class with too few
    rows is tested before it is validated. Rows of one group and copies of each other stay together. A row whose label
    comes from a model, or that is in one group with a row that validates or tests already, is not drawn.

    Args:
        shares: Of the labeled training rows of each class; `Part.VALIDATION` and `Part.TEST`.

    Raises:
        DataError: No training row is labeled, or no row can be drawn for a part.
    """
    parts = collection.parts.copy()
    parts[parts == Part.FREE] = Part.TRAIN
    known = np.flatnonzero((collection.labels >= 0) & (parts != Part.LEFT_OUT))
    groups = groups_with_copies(collection, known)
    fixed = np.isin(groups, groups[parts[known] != Part.TRAIN])
    ids, groups = known[~fixed], groups[~fixed]
    counts = np.bincount(collection.labels[ids], minlength=len(collection.classes))
    if not counts.any():
        raise DataError("no training image has a label; give a folder per class, or a manifest with a label column")
    random, notes = generator("divide", seed), []
    for part in (Part.TEST, Part.VALIDATION):
        if not shares.get(part):
            continue
        left = np.bincount(collection.labels[ids], minlength=len(counts))
        quota = np.clip(np.maximum(np.round(shares[part] * counts), 1), 0, np.maximum(left - 1, 0)).astype(np.int64)
        apart = len(np.unique(groups)) == len(ids)
        taken = drawn(collection.labels[ids], None if apart else numbered_groups(groups), quota, left - 1, random)
        parts[ids[taken]] = part
        notes += _lacking(collection, counts, ids[taken], part)
        ids, groups = ids[~taken], groups[~taken]
    return parts, notes


def _lacking(collection: Collection, counts: Ids, ids: Ids, part: Part) -> list[str]:
    """A note on the classes of which nothing was drawn.

    Raises:
        DataError: Nothing was drawn at all.
    """
    name = part.name.lower()
    if not len(ids):
        raise DataError(
            f"no image can be drawn as a {name} image and leave one of its class to train, with groups and copies kept "
            f"together; label more images, or set {name} to 0"
        )
    lacking = np.setdiff1d(np.flatnonzero(counts), collection.labels[ids])
    if not len(lacking):
        return []
    names = ", ".join(collection.classes[code] for code in lacking[:5]) + (", ..." if len(lacking) > 5 else "")
    what = "1 class has" if len(lacking) == 1 else f"{len(lacking)} classes have"
    return [f"{what} too few images or groups for a {name} image: {names}"]
