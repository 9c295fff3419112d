"""The split into training images, validation images, which select models, and test images, which only measure."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from understudy.core.errors import ConfigError, DataError, RunFolderError
from understudy.core.seeding import generator
from understudy.core.text import agree, counted
from understudy.core.types import Ids
from understudy.data.collection import Collection, Part
from understudy.data.copies import first_of_each, is_copy_of

TestSource = Literal["test", "held out", "out of fold", "nothing"]

VERSION = 1  # of the saved file; raise it when older programs could misread a new one
FEW_PER_CLASS = 5  # a fifth of fewer labels is no whole image of every class
# 400 test images show a gain of 3.5 points (McNemar's test at 80 % power); half of fewer would show hardly any gain, so
# up to here all held-out images test and nothing is selected.
MAX_ALL_TEST = 400
# Beside a test set a tenth of the labels selects: training on 90 % of them costs about 4 % more errors where errors
# fall as n**-0.35. Below 200 images, whose accuracy has a standard error of up to 3.5 points, a selection would be
# mostly chance and not worth the labels; above 1,000 more of them select hardly better.
VALIDATION_SHARE, MIN_VALIDATION, MAX_VALIDATION = 0.1, 200, 1_000
_ROLES = ("labeled", "unlabeled", "validation", "test")


@dataclass(frozen=True, eq=False)
class Splits:
    """Row numbers by role, disjoint and ascending.

    Args:
        labeled: Rows that train with their label.
        unlabeled: The pool, without the labeled rows.
        validation: Held-out rows that select among weights or settings.
        test: Held-out rows that measure the finished model and select nothing.
        test_source: Where `test` comes from.
        note: What was done and why, for the user.
    """

    labeled: Ids
    unlabeled: Ids
    validation: Ids
    test: Ids
    test_source: TestSource
    note: str

    @property
    def content(self) -> str:
        """Text that differs when any row has another role."""
        digest = hashlib.blake2b(digest_size=16)
        for role in _ROLES:
            ids: Ids = getattr(self, role)
            digest.update(len(ids).to_bytes(8, "little") + ids.tobytes())
        return digest.hexdigest()

    def save(self, path: Path, collection: Collection) -> None:
        """Write the roles as JSON: rows by number and name, the pool as runs of numbers."""
        roles: dict[str, Any] = {"unlabeled": {"ranges": _to_ranges(self.unlabeled)}}
        for role in ("labeled", "validation", "test"):
            ids: Ids = getattr(self, role)
            roles[role] = {"ids": ids.tolist(), "names": [str(name) for name in collection.names[ids]]}
        head = {"version": VERSION, "test_source": self.test_source, "note": self.note, "rows": len(collection)}
        path.write_text(json.dumps(head | {"data": collection.content} | roles), "utf-8")

    @classmethod
    def load(cls, path: Path, collection: Collection) -> Splits:
        """The roles written by `save` for the same collection.

        Raises:
            RunFolderError: The file is damaged or newer than this version, or belongs to other data.
        """
        try:
            saved = json.loads(path.read_text("utf-8"))
            if saved["version"] > VERSION:
                raise RunFolderError(f"{path} was written by a newer version of understudy; upgrade to read it")
            ids = {role: np.array(saved[role]["ids"], np.int64) for role in ("labeled", "validation", "test")}
            names = {role: saved[role]["names"] for role in ids}
            ids["unlabeled"] = _from_ranges(saved["unlabeled"]["ranges"])
            test_source, note, rows = saved["test_source"], saved["note"], saved["rows"]
        except (OSError, ValueError, KeyError, TypeError) as error:
            if isinstance(error, RunFolderError):
                raise
            raise RunFolderError(f"{path} cannot be read as saved splits ({error}); split the data anew") from error
        same = rows == len(collection)
        for role, expected in names.items():
            same = same and [str(name) for name in collection.names[ids[role]]] == expected
        if not same:
            raise RunFolderError(f"{path} belongs to other images than those given; split the data anew")
        return cls(**ids, test_source=test_source, note=note)


def split(collection: Collection, seed: int = 0, *, share: float | None = 0.2) -> Splits:
    """The role of every row; the same for the same labeled rows and seed, however many unlabeled ones there are.

    A test set, when given, only tests. Without validation images a tenth of the labels, at most 1,000, then validates,
    taken from classes with at least ten labels; where that is under 200 images, none does. Without a test set, under 5
    labels per class nothing is held out; up to 400 held-out images all test; beyond that one half validates and the
    other tests. Rows that share a group with a held-out row, or are copies of one, do not train; nor does a copy of
    a test image validate, or one of a labeled image train as unlabeled too. A class with a single label keeps it for
    training.

    Args:
        share: Part of the labeled rows that is held out; None holds out only what is given as test or validation.

    Raises:
        DataError: No image is labeled, only one class is, or training and held-out images are the same.
        ConfigError: The share is not between 0 and 1.
    """
    if share is not None and not 0 < share < 1:
        raise ConfigError(f"the share to hold out is {share}; give a number between 0 and 1, such as 0.2")
    training = np.isin(collection.parts, (Part.FREE, Part.TRAIN, Part.PSEUDO))
    labeled = np.flatnonzero(training & (collection.labels >= 0))
    pool = np.flatnonzero(training & (collection.labels < 0))
    _check_labels(collection, labeled)
    validation, test, test_source, note = _held_out(collection, labeled, share, seed)
    if pseudo := int((collection.parts[labeled] == Part.PSEUDO).sum()):
        note += f"; {counted(pseudo, 'label')} {agree(pseudo, 'comes', 'come')} from a model and only "
        note += agree(pseudo, "trains", "train")
    validation = _without_groups(collection, validation, test)
    repeated = is_copy_of(collection.copies, validation, test)
    if repeated.any():
        note += f"; {_copies(int(repeated.sum()))} of test images do not validate"
        validation = validation[~repeated]
    held = np.concatenate([validation, test])
    labeled = np.setdiff1d(labeled, held)
    kept, kept_pool = (_without_groups(collection, ids, held) for ids in (labeled, pool))
    if dropped := len(labeled) + len(pool) - len(kept) - len(kept_pool):
        note += (
            f"; {counted(dropped, 'image')} that {agree(dropped, 'shares', 'share')} a group with them "
            f"{agree(dropped, 'does', 'do')} not train"
        )
        _check_left(collection, labeled, kept, "share a group with", "keep each group on one side")
    labeled = kept
    kept, kept_pool, said = _without_copies(collection, kept, kept_pool, held)
    note += said
    if len(kept) < len(labeled):
        _check_left(collection, labeled, kept, "are copies of", "take those out, or give other test images")
    untested = np.setdiff1d(collection.labels[kept], collection.labels[test])
    if test_source == "held out" and len(untested):
        names = ", ".join(collection.classes[number] for number in untested[:5])
        names += ", ..." if len(untested) > 5 else ""
        note += f"; no image tests {len(untested)} of the classes, which have too few labels: {names}"
    if not len(pool):
        note += "; there are no unlabeled images"
    elif not len(kept_pool):
        note += f"; of {len(pool):,} unlabeled images none is left to train on"
    if test_source == "test" and share is not None and not len(validation):
        note += (
            ". There are no validation images, so nothing is selected and the last weights are used; a tenth of the "
            f"labels is held out to select from {round(MIN_VALIDATION / VALIDATION_SHARE):,} labels on"
        )
    return Splits(kept, kept_pool, np.sort(validation), np.sort(test), test_source, note + ".")


def _check_left(collection: Collection, labeled: Ids, kept: Ids, why: str, advice: str) -> None:
    """Refuse a split that leaves fewer than two classes to train on."""
    if len(np.unique(collection.labels[kept])) < 2:
        raise DataError(
            f"of {len(labeled)} labeled training images, {len(labeled) - len(kept)} {why} test or validation images, "
            f"and fewer than two classes are left; {advice}"
        )


def _without_copies(collection: Collection, labeled: Ids, pool: Ids, held: Ids) -> tuple[Ids, Ids, str]:
    """Labeled rows and pool without copies of held-out rows, the pool without those of labeled rows, and the counts."""
    copies, note = collection.copies, ""
    leaked, leaked_pool = (is_copy_of(copies, ids, held) for ids in (labeled, pool))
    labeled, pool = labeled[~leaked], pool[~leaked_pool]
    if count := int(leaked.sum() + leaked_pool.sum()):
        note = f"; {_copies(count)} of them {'does' if count == 1 else 'do'} not train"
        if leaked_pool.any():
            note += f" ({int(leaked_pool.sum()):,} of them in the pool)" if leaked.any() else " (in the pool)"
    repeated = is_copy_of(copies, pool, labeled)
    if count := int(repeated.sum()):
        note += f"; {_copies(count)} of labeled images {'is' if count == 1 else 'are'} left out of the pool"
    return labeled, pool[~repeated], note


def _copies(count: int) -> str:
    return f"{count:,} {'copy' if count == 1 else 'copies'}"


def _held_out(collection: Collection, labeled: Ids, share: float | None, seed: int) -> tuple[Ids, Ids, TestSource, str]:
    """Validation rows, test rows, where these come from, and a sentence about both."""
    nobody = np.empty(0, np.int64)
    has_label = collection.labels >= 0
    by_model = collection.parts[labeled] == Part.PSEUDO
    labeled, who = labeled[~by_model], " given by people" if by_model.any() else ""
    given = np.flatnonzero((collection.parts == Part.VALIDATION) & has_label)
    tests = np.flatnonzero((collection.parts == Part.TEST) & has_label)
    test_source: TestSource
    if len(tests):
        validation, test, test_source = given, tests, "test"
        note = f"The {counted(len(test), 'test image')} only {agree(len(test), 'measures', 'measure')} accuracy"
        if share is not None and not len(given):
            validation = _spared(collection, labeled, min(share, VALIDATION_SHARE), seed)
    else:
        enough = len(labeled) >= FEW_PER_CLASS * len(collection.classes)
        held = given
        if share is not None and not len(given) and enough:
            held = hold_out(collection, labeled, share, seed)
        validation = hold_out(collection, held, 0.5, seed) if len(held) > MAX_ALL_TEST else nobody
        test = np.setdiff1d(held, validation)
        test_source = "held out" if len(test) else "nothing"
        origin = "given as validation" if len(given) else f"held out of {len(labeled):,} labeled ones"
        note = f"The {len(test):,} images {origin} only measure accuracy"
        note += ", since there are no test images" if len(given) else ""
        if share is None and not len(test):
            note = "Nothing is held out"
        elif not len(test):
            why = "cannot be split by group" if enough else f"are under {FEW_PER_CLASS} per class"
            note = f"Nothing is held out, since the {len(labeled)} labels{who} {why}: whether it helped stays unproven"
    if len(validation):
        note += f"; {len(validation):,} validation images select"
    return validation, test, test_source, note


def _spared(collection: Collection, labeled: Ids, share: float, seed: int) -> Ids:
    """The labeled rows held out for validation: about that share, of classes that can spare it; none of too few."""
    counts = np.bincount(collection.labels[labeled], minlength=len(collection.classes))
    ample = labeled[counts[collection.labels[labeled]] >= 1 / share]
    if share * len(ample) < MIN_VALIDATION:
        return np.empty(0, np.int64)
    return hold_out(collection, ample, min(share, MAX_VALIDATION / len(ample)), seed)


def hold_out(collection: Collection, ids: Ids, share: float, seed: int) -> Ids:
    """About that share of the rows, in every class at least one held out and one not, with whole groups only.

    Of rows that are copies of each other only the first can be drawn.
    """
    ids = first_of_each(collection.copies, ids)
    labels = collection.labels[ids]
    counts = np.bincount(labels, minlength=len(collection.classes))
    quota = np.maximum(np.round(share * counts), 1).astype(np.int64)
    quota = np.clip(quota, 0, np.maximum(counts - 1, 0))
    random = generator("hold out", seed)
    groups = None if collection.groups is None else numbered_groups(collection.groups[ids])
    return np.sort(ids[drawn(labels, groups, quota, counts - 1, random)])


def numbered_groups(groups: Ids) -> Ids:
    """The number of each row's group, where -1 stands for a group of its own."""
    groups = groups.copy()
    alone = groups < 0
    groups[alone] = groups.max(initial=-1) + 1 + np.arange(alone.sum())
    return np.unique(groups, return_inverse=True)[1].astype(np.int64)


def drawn(labels: Ids, groups: Ids | None, quota: Ids, most: Ids, random: np.random.Generator) -> NDArray[np.bool_]:
    """Which rows are drawn at random: of each class about the quota, and in whole groups at most `most`.

    Args:
        groups: As `numbered_groups` gives them; None where every row is alone.
    """
    if groups is None:
        return np.asarray(_rank_in_class(labels, random) < quota[labels])
    return np.isin(groups, _choose_groups(groups, labels, quota, most, random))


def _rank_in_class(labels: Ids, random: np.random.Generator) -> Ids:
    """Each row's place in a random order of its class."""
    order = np.lexsort((random.random(len(labels)), labels))
    starts = np.searchsorted(labels[order], labels[order])
    rank = np.empty(len(labels), np.int64)
    rank[order] = np.arange(len(labels)) - starts
    return rank


def _choose_groups(groups: Ids, labels: Ids, quota: Ids, most: Ids, random: np.random.Generator) -> Ids:
    """The groups that, tried in random order, brought their classes closer to the quota and left enough to train."""
    order = np.argsort(groups, kind="stable")
    members = np.split(labels[order], np.flatnonzero(np.diff(groups[order])) + 1)
    held = np.zeros_like(quota)
    chosen = []
    for group in random.permutation(len(members)):
        classes, counts = np.unique(members[group], return_counts=True)
        after = held[classes] + counts
        closer = np.abs(quota[classes] - held[classes]).sum() - np.abs(quota[classes] - after).sum()
        if closer > 0 and (after <= most[classes]).all():
            held[classes] = after
            chosen.append(group)
    return np.array(chosen, np.int64)


def _without_groups(collection: Collection, ids: Ids, others: Ids) -> Ids:
    """The rows that share no group with the others."""
    if collection.groups is None:
        return ids
    groups = collection.groups[ids]
    return ids[(groups < 0) | ~np.isin(groups, collection.groups[others])]


def _check_labels(collection: Collection, labeled: Ids) -> None:
    if collection.copies is not None and len(collection) > 1 and not collection.copies.any():
        what = "images are the same picture" if collection.is_images else "rows are the same"
        raise DataError(f"all {len(collection):,} {what}, byte for byte, and teach nothing; give different ones")
    if not len(labeled):
        raise DataError(
            "no training image has a label; put some images into a folder per class, or fill in the label column"
        )
    used = np.unique(collection.labels[labeled])
    if len(used) < 2:
        raise DataError(
            f"all training labels are {collection.classes[used[0]]!r}; give labeled images of at least two classes"
        )


def _to_ranges(ids: Ids) -> list[list[int]]:
    """The ascending numbers as [first, last + 1] runs."""
    if not len(ids):
        return []
    breaks = np.flatnonzero(np.diff(ids) != 1) + 1
    starts, stops = ids[np.concatenate([[0], breaks])], ids[np.concatenate([breaks - 1, [len(ids) - 1]])] + 1
    return [[int(start), int(stop)] for start, stop in zip(starts, stops, strict=True)]


def _from_ranges(ranges: list[list[int]]) -> Ids:
    return np.concatenate([np.empty(0, np.int64), *(np.arange(start, stop) for start, stop in ranges)]).astype(np.int64)
