"""Roles of sources: the argument of a source decides whether its rows train, validate, test or are unlabeled."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from understudy.core.arguments import has, path_problem
from understudy.core.errors import DataError
from understudy.core.text import agree, counted
from understudy.data.collection import UNLABELED, Part
from understudy.data.formats import EXTENSIONS
from understudy.data.sources.dataset import is_dataset
from understudy.data.sources.listed import is_image
from understudy.data.sources.named import is_named
from understudy.data.sources.values import is_sparse
from understudy.data.table import Table, to_names

MAIN, TEST, VALIDATION, POOL = "", "test", "validation", "unlabeled"
HELD_OUT = {TEST: Part.TEST, VALIDATION: Part.VALIDATION}
_CHANNELS = (1, 3, 4)  # of one image given as an array, first or last


@dataclass(frozen=True, eq=False)
class Given:
    """One source and its role.

    Args:
        prefix: What the names of its rows begin with, to be distinct from those of other sources.
    """

    role: str
    item: Any
    prefix: str


def sources_of(unlabeled: Any, *, vectors: bool, is_alone: bool) -> list[Given]:
    """The unlabeled source, or the sources that it lists.

    A list is several sources when one of its items can be nothing else: a folder, a manifest, the name of a data set,
    a data set, a DataFrame, a pair (X, y), or an array of several images. A list of paths is several sources too when
    none of them exists or is named like an image. Any other list is a list of images.

    Args:
        vectors: Whether rows are vectors, so that an array of two dimensions is several rows.
        is_alone: Whether no other images are given.
    """
    is_list = isinstance(unlabeled, (list, tuple)) and len(unlabeled) > 0
    is_list = is_list and (any(_is_source(item, vectors) for item in unlabeled) or all(map(_is_absent, unlabeled)))
    is_list = is_list and not (isinstance(unlabeled, tuple) and _is_pair(unlabeled))
    if not is_list or len(unlabeled) == 1:
        return [Given(POOL, unlabeled[0] if is_list else unlabeled, "" if is_alone else f"{POOL}:")]
    return [Given(POOL, item, f"{POOL}:{number}:") for number, item in enumerate(unlabeled, 1)]


def _is_source(item: Any, vectors: bool) -> bool:
    """Whether an item of a list is images of its own, not one image."""
    if isinstance(item, (str, os.PathLike)):
        return is_named(item) or _is_place(item)
    if is_image(item) or isinstance(item, list):
        return False
    if isinstance(item, tuple):
        return _is_pair(item)
    if isinstance(item, Mapping) or is_sparse(item) or has(item, "iloc"):
        return True
    if not has(item, "__array__"):
        return is_dataset(item)
    shape = tuple(item.shape) if has(item, "shape") else ()  # a nested tensor has none
    is_stack_of_gray = len(shape) == 3 and shape[0] not in _CHANNELS and shape[2] not in _CHANNELS
    return len(shape) > 3 or is_stack_of_gray or (vectors and len(shape) == 2)


def _is_pair(item: tuple[Any, ...]) -> bool:
    """Whether it is (X, y) with an array X."""
    return len(item) == 2 and has(item[0], "ndim") and item[0].ndim > 1


def _is_place(item: str | os.PathLike[str]) -> bool:
    """Whether a path is a folder or a manifest."""
    if path_problem(item) is not None:
        return False
    path = Path(os.path.expanduser(item))
    return path.is_dir() or (path.suffix.lower() in (".csv", ".parquet") and path.exists())


def _is_absent(item: Any) -> bool:
    """Whether it is a path that does not exist and does not end like an image: a missing folder or manifest."""
    if not isinstance(item, (str, os.PathLike)) or path_problem(item) is not None:
        return False
    path = Path(os.path.expanduser(item))
    return path.suffix.lower() not in EXTENSIONS and not path.exists()


def in_role(table: Table, given: Given) -> Table:
    """The table with the roles that its argument gives to its rows.

    Raises:
        DataError: All labels of held-out images come from a model.
    """
    if given.prefix:
        table = replace(
            table,
            names=np.strings.add(to_names([given.prefix]), table.names),
            quarantine=tuple((f"{given.prefix}{name}", reason) for name, reason in table.quarantine),
        )
    if given.role == POOL:
        if labeled := int((table.labels >= 0).sum()):
            are = agree(labeled, "is", "are")
            table = table.noting(f"{counted(labeled, 'label')} in the unlabeled images {are} not used")
        nothing = np.full(len(table), UNLABELED, np.int64)
        table = replace(table, labels=nothing, values=(), classes=(), parts=np.full(len(table), Part.TRAIN, np.uint8))
    if given.role in HELD_OUT:
        part = HELD_OUT[given.role]
        if (table.parts == part).any():
            table = table.take(table.parts == part)
        if num_pseudo := int((table.parts == Part.PSEUDO).sum()):
            check_test_labels(table.labels, table.parts, given.role)
            are = agree(num_pseudo, "is", "are")
            note = f"{counted(num_pseudo, f'{given.role} image')} {are} not used, since their labels come from a model"
            table = table.take(table.parts != Part.PSEUDO).noting(note)
        table = replace(table, parts=np.full(len(table), part, np.uint8))
    return table


def check_test_labels(labels: NDArray[np.int64], parts: NDArray[np.uint8], role: str = TEST) -> None:
    """Refuse labels of which none was given by a person.

    Raises:
        DataError: All labels come from a model.
    """
    if (parts == Part.PSEUDO).any() and not ((labels >= 0) & (parts != Part.PSEUDO)).any():
        raise DataError(
            f"all labels of the {role} images come from a model (column 'source'), so they would measure agreement "
            "with that model; give images labeled by people, or remove the column to use them all the same"
        )


def without_shared_files(tables: Sequence[Table], roles: Sequence[str]) -> list[Table]:
    """The tables without unlabeled files that another source holds too.

    Raises:
        DataError: Two of training, validation and test hold the same files, or two sources name test images.
    """
    labeled = [(role, table) for role, table in zip(roles, tables, strict=True) if role != POOL]
    for at, (role, table) in enumerate(labeled):
        for other_role, other in labeled[at + 1 :]:
            if role == MAIN and (table.parts == HELD_OUT[other_role]).any():
                raise DataError(
                    f"the training source holds {other_role} images of its own; leave out {other_role}=, or take them "
                    "out of it"
                )
            shared = table.names[_shared(table, [other])]
            if len(shared):
                raise DataError(
                    f"{len(shared)} files are both {role or 'training'} and {other_role} images, such as "
                    f"{str(shared[0])!r}; keep each in one of them"
                )
    found: list[Table] = []
    for role, table in zip(roles, tables, strict=True):
        if role == POOL:
            earlier = [one for other, one in zip(roles, found, strict=False) if other == POOL]
            table = _without(table, [one for _, one in labeled], "also given as labeled, validation or test images")
            table = _without(table, earlier, "also in an earlier unlabeled source")
        found.append(table)
    return found


def _without(pool: Table, others: list[Table], what: str) -> Table:
    """The unlabeled images without files that the others hold."""
    shared = _shared(pool, others)
    number = int(shared.sum())
    if not number:
        return pool
    files = f"{counted(number, 'unlabeled file')} {agree(number, 'is', 'are')}"
    return pool.take(~shared).noting(f"{files} {what}, and {agree(number, 'counts', 'count')} only there")


def _shared(table: Table, others: list[Table]) -> NDArray[np.bool_]:
    """Which of the table's rows are files that the others hold under the same path."""
    held = {str(path) for other in others if isinstance(other.images, np.ndarray) for path in other.images}
    if not held or not isinstance(table.images, np.ndarray):
        return np.zeros(len(table), np.bool_)
    return np.fromiter((str(path) in held for path in table.images), np.bool_, len(table))
