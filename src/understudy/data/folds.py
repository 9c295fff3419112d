"""Folds: every labeled row is tested once, by models that were trained on the other folds and saw none of its group."""

from __future__ import annotations

import numpy as np

from understudy.core.errors import DataError
from understudy.core.seeding import generator
from understudy.core.types import Ids
from understudy.data.collection import Collection
from understudy.data.copies import joined
from understudy.data.split import Splits, numbered_groups, split


def cross_validation(collection: Collection, num_folds: int, seed: int = 0) -> tuple[Splits, tuple[Splits, ...]]:
    """The roles for a final model that trains on every label, and those within each fold.

    Given test and validation images stay what they are for the final model. Within a fold its labeled rows test, and
    neither they nor unlabeled rows of their groups train. Copies are in one fold. Every class is spread as evenly as
    whole groups allow.

    Raises:
        DataError: A class has too few labels or groups for this number of folds, or no image is labeled.
    """
    whole = split(collection, seed, share=None)
    labeled = whole.labeled
    groups = groups_with_copies(collection, labeled)
    _check(collection, labeled, groups, num_folds)
    fold_of = assign(collection.labels[labeled], groups, num_folds, seed)
    folds = []
    for number in range(num_folds):
        test = labeled[fold_of == number]
        pool = whole.unlabeled
        if collection.groups is not None:
            near = collection.groups[test]
            pool = pool[~np.isin(collection.groups[pool], near[near >= 0])]
        note = f"Fold {number + 1} of {num_folds}: {len(labeled) - len(test):,} labels train and {len(test):,} test"
        if dropped := len(whole.unlabeled) - len(pool):
            note += f"; {dropped:,} unlabeled images that share a group with them do not train"
        train = labeled[fold_of != number]
        folds.append(Splits(train, pool, whole.validation, test, "held out", note + "."))
    return whole, tuple(folds)


def assign(labels: Ids, groups: Ids, num_folds: int, seed: int) -> Ids:
    """The fold of each row: whole groups, the largest first, each to the fold that has the least of its classes.

    Of equal folds the smaller one takes the group, so that single rows are spread to within one per class and fold.

    Args:
        groups: A number for each row, the same for rows that must stay together.
    """
    random = generator("folds", seed)
    groups = np.unique(groups, return_inverse=True)[1]
    members = np.split(np.argsort(groups, kind="stable"), np.cumsum(np.bincount(groups))[:-1])
    classes = labels.max() + 1
    totals = np.maximum(np.bincount(labels, minlength=classes), 1)
    held = np.zeros((num_folds, classes), np.int64)
    found = np.empty(len(labels), np.int64)
    tie = random.random(len(members))
    for at in sorted(range(len(members)), key=lambda one: (-len(members[one]), labels[members[one][0]], tie[one])):
        counts = np.bincount(labels[members[at]], minlength=classes)
        fullness = held @ (counts / totals)
        fold = int(np.lexsort((held.sum(1), np.round(fullness, 9)))[0])
        held[fold] += counts
        found[members[at]] = fold
    return found


def groups_with_copies(collection: Collection, ids: Ids) -> Ids:
    """A number for the group of each row; a row without one is alone, and copies are of one group."""
    groups = np.arange(len(ids)) if collection.groups is None else numbered_groups(collection.groups[ids])
    if collection.copies is None or (collection.copies[ids] < 0).all():
        return groups
    return joined(groups, collection.copies[ids])


def _check(collection: Collection, labeled: Ids, groups: Ids, num_folds: int) -> None:
    """Refuse a class that cannot be in every fold."""
    labels = collection.labels[labeled]
    used = np.unique(labels)
    apart = {int(code): len(np.unique(groups[labels == code])) for code in used}
    fewest = min(apart, key=lambda code: apart[code])
    least, count, name = apart[fewest], int((labels == fewest).sum()), collection.classes[fewest]
    if least >= num_folds:
        return
    if len(labeled) < num_folds:
        fewer = f"use at most {least} folds, or label more images"
        if least == 1:
            fewer = "label more images, or leave folds out and give labeled images with test"
        raise DataError(f"{len(labeled)} labels cannot be divided into {num_folds} folds; {fewer}")
    what = f"class {name!r} has {count} {'label' if count == 1 else 'labels'}"
    if least < count and collection.groups is not None:
        what += f" in {least} {'group that is' if least == 1 else 'groups that are'} never divided"
    elif least < count:
        what += f", all copies of {least} {'picture' if least == 1 else 'pictures'}"
    need = f"and each of {num_folds} folds needs one of every class"
    if least == 1:
        raise DataError(
            f"{what}, {need}: a model could not both learn the class and be tested on it; label at least 2 images per "
            "class, or leave folds out and give labeled images with test"
        )
    kind = "images" if least == count else "groups" if collection.groups is not None else "pictures"
    raise DataError(f"{what}, {need}; use at most {least} folds, or label {num_folds - least} more {kind} of it")
