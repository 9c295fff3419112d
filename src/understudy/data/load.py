"""Load images from any source into one `Collection`."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from torch import Tensor

from understudy.core.arguments import check, has, path_problem, quoted
from understudy.core.errors import DataError
from understudy.core.text import agree, counted
from understudy.core.types import Observe
from understudy.data.collection import UNLABELED, Collection, Part
from understudy.data.copies import exact_copies, hash_rows
from understudy.data.formats import EXTENSIONS
from understudy.data.roles import (
    HELD_OUT,
    MAIN,
    POOL,
    TEST,
    VALIDATION,
    Given,
    in_role,
    sources_of,
    without_shared_files,
)
from understudy.data.simulate import check_num_labels
from understudy.data.sizing import Form, check_request, choose_for_files
from understudy.data.sources.arrays import conform
from understudy.data.sources.dataset import check_readable, is_dataset, read_dataset
from understudy.data.sources.folder import read_folder
from understudy.data.sources.listed import is_image, read_listed, read_paths
from understudy.data.sources.manifest import read_manifest
from understudy.data.sources.named import is_named, read_named, read_parts
from understudy.data.sources.values import is_sparse
from understudy.data.store import store
from understudy.data.table import Table, concatenate, unknown_classes
from understudy.data.value_ranges import Range, Ranges

Source = Any


def load(
    source: Source = None,
    *,
    unlabeled: Source = None,
    test: Source = None,
    validation: Source = None,
    size: int | None = None,
    channels: int | None = None,
    cache: str | Path | None = None,
    observe: Observe | None = None,
    choose_size: Callable[[Form], int] | None = None,
    ranges: Mapping[str, Range] | None = None,
    distinct: bool = True,
    num_labels: int | Sequence[int] | None = None,
) -> Collection:
    """All images of the task in one collection, decoded.

    A source is a folder with one subfolder per class, a `.csv` or `.parquet` manifest, `(X, y)` arrays or tensors,
    lists of paths or Pillow images and their labels, a DataFrame of both, a map-style data set, a dictionary of data
    sets by split, or the name `digits`, `torchvision:NAME` or `hf:PATH`.

    Args:
        unlabeled: More images, whose labels, if any, are not used; may also be a folder of images, an array
            X, one image, or a list of sources.
        test: Labeled images that test the finished model and select nothing.
        validation: Labeled images that select: the best weights, a temperature, a method.
        size: Side in px at which images are trained; chosen by the images when None.
        channels: 1 or 3; chosen by the images when None.
        cache: Folder for decoded images; see `store`.
        observe: Called with the numbers of images decoded and in all.
        choose_size: Another choice of the size of files than by the images alone, given the form that suits these.
        ranges: The values that become black and white, by kind, as a trained model knows them; measured if None.
        distinct: Whether a path that a list holds more than once becomes one row, as in training.
        num_labels: Numbers of labels that are to be kept later, to refuse one that is impossible before decoding.

    Examples:
        >>> import understudy
        >>> collection = understudy.load("digits")
        >>> len(collection.rows), len(collection.classes)
        (1797, 10)

    Raises:
        DataError: A source cannot be used as given, or has fewer labels than are to be kept.
        UserError: Decoded images cannot be stored.
    """
    check(cache=cache, observe=observe, num_labels=num_labels)
    check_request(size, channels)
    labeled = [
        (role, item) for role, item in ((MAIN, source), (TEST, test), (VALIDATION, validation)) if item is not None
    ]
    if not labeled and unlabeled is None:
        raise DataError("no images were given; name a folder, a manifest, arrays or a data set")
    is_alone = len(labeled) + (unlabeled is not None) == 1
    given = [Given(role, item, "" if is_alone or role == MAIN else f"{role}:") for role, item in labeled]
    tables: list[Table] = []
    form: Form | None = None
    scales = Ranges(ranges)
    while len(tables) < len(given) or unlabeled is not None:
        if len(tables) == len(given):  # after the labeled images, which say whether a row is an image or a vector
            given += sources_of(unlabeled, vectors=bool(tables) and form is None, is_alone=is_alone)
            unlabeled = None
        one = given[len(tables)]
        table = in_role(_read(one.item, one.role, form, size, channels, observe, scales, distinct), one)
        if form is None:
            images = table.images
            form = table.form
            if isinstance(images, np.ndarray):
                form = choose_for_files(images, size, channels)
                if size is None and choose_size is not None and (wanted := choose_size(form)) != form.size:
                    form = choose_for_files(images, wanted, channels)
        tables.append(table)
    tables = without_shared_files(tables, [one.role for one in given])
    _check_numbers(tables, num_labels)
    tables, contents = _decoded(tables, form, cache, observe, scales)
    return _collect(concatenate(tables), form, contents, scales)


def _check_numbers(tables: list[Table], num_labels: int | Sequence[int] | None) -> None:
    """Refuse numbers of labels that the listed images cannot have; unreadable images reduce the number only later.

    Raises:
        DataError: A number is too small or too large.
    """
    if num_labels is None:
        return
    values: set[object] = set()
    available = 0
    for table in tables:
        training = (table.labels >= 0) & ~np.isin(table.parts, (Part.VALIDATION, Part.TEST, Part.LEFT_OUT))
        available += int(training.sum())
        values |= {table.values[code] for code in np.unique(table.labels[training])}
    if not available:
        return  # which is refused where the classes are gathered, with what to do about it
    for number in [num_labels] if isinstance(num_labels, int) else num_labels:
        check_num_labels(number, len(values), available)


def _read(
    item: Source,
    role: str,
    form: Form | None,
    size: int | None,
    channels: int | None,
    observe: Observe | None,
    ranges: Ranges,
    distinct: bool,
) -> Table:
    """The table of one source."""
    if is_named(item):
        return read_named(item, form=form, size=size, channels=channels, observe=observe, ranges=ranges)
    if isinstance(item, (str, os.PathLike)):
        return _read_path(item, role)
    if is_image(item):
        if role != POOL:
            raise DataError("one image came where labeled images are needed; give a list of images and their labels")
        return read_listed([item], form=form, size=size, channels=channels, ranges=ranges)
    check_readable(item)
    if isinstance(item, Mapping):
        return read_parts(item, form=form, size=size, channels=channels, observe=observe, ranges=ranges)
    if is_dataset(item) and not has(item, "__array__") and not is_sparse(item):
        return read_dataset(item, form=form, size=size, channels=channels, observe=observe, ranges=ranges)
    pair = item if isinstance(item, tuple) and len(item) == 2 else (item, None)
    if has(pair[0], "__array__") or isinstance(pair[0], list) or is_sparse(pair[0]) or pair is item:
        table = read_listed(
            *pair, form=form, size=size, channels=channels, observe=observe, ranges=ranges, distinct=distinct
        )
        if role in HELD_OUT and not table.values:
            raise DataError(f"{role} images came without labels; give a pair of arrays (X, y)")
        return table
    raise DataError(
        f"images cannot be read from {type(item).__name__}; give a path, (X, y) arrays or tensors, lists of paths and "
        "labels, a map-style data set, 'digits', 'torchvision:NAME' or 'hf:PATH'"
    )


def _read_path(item: str | os.PathLike[str], role: str) -> Table:
    """The table of a folder, a manifest, or, where labels are not needed, one image file."""
    if (problem := path_problem(item)) is not None:  # a name that is not UTF-8 is left to the folder's own sentence
        raise DataError(f"the source {quoted(item)} {problem}; give the path of an image, a folder or a manifest")
    text = os.fspath(item)
    try:
        path = Path(text).expanduser()
    except RuntimeError as error:
        raise DataError(f"{text!r} cannot be found: {error}") from error
    if path.is_dir():
        return read_folder(path, labeled=role != POOL)
    if path.suffix.lower() in (".csv", ".parquet") and path.exists():
        return read_manifest(path)
    if role == POOL and path.suffix.lower() in EXTENSIONS and path.exists():
        return read_paths([path])
    raise DataError(
        f"{text!r} is {'neither a folder nor a manifest' if path.exists() else 'not there'}; name a folder of "
        "images, a .csv or .parquet manifest, 'digits', 'torchvision:NAME' or 'hf:PATH'"
    )


def _decoded(
    tables: list[Table], form: Form | None, cache: str | Path | None, observe: Observe | None, ranges: Ranges
) -> tuple[list[Table], list[str]]:
    """The tables with rows in place of files, and texts that identify what the rows hold.

    Sources that are all files are decoded into one store, whose memory map is used as it is.
    """
    if all(isinstance(table.images, np.ndarray) for table in tables):
        tables = [concatenate(tables)]
    done, contents = [], []
    for table in tables:
        images = table.images
        if isinstance(images, Tensor):
            if (form is None) != (images.ndim != 4):
                raise DataError("some sources hold images and others vectors; give one kind")
            if form is not None:
                table = replace(table, images=conform(images, form))
            elif images.shape[1:] != tables[0].images.shape[1:]:
                raise DataError(
                    f"vectors have {images.shape[1]} and {tables[0].images.shape[1]} entries; give one length"
                )
            rows = table.images
            assert isinstance(rows, Tensor)
            table = replace(table, hashes=hash_rows(rows))
            contents.append(hashlib.blake2b(rows.numpy().data, digest_size=16).hexdigest())
        else:
            if form is None:
                raise DataError("some sources hold images and others vectors; give one kind")
            stored = store(table.names, images, form, ranges=ranges, cache=cache, observe=observe)
            bad = tuple((str(table.names[position]), reason) for position, reason in stored.quarantine)
            table = table.noting(*_flaws([(str(table.names[position]), flaw) for position, flaw in stored.flawed]))
            table = table.take(stored.readable)
            table = replace(
                table,
                images=stored.rows,
                quarantine=table.quarantine + bad,
                hashes=stored.hashes,
                sizes=stored.sizes,
            )
            contents.append(stored.content)
        done.append(table)
    return done, contents


def _flaws(flawed: list[tuple[str, str]]) -> list[str]:
    """A sentence for each flaw of images that are used nevertheless, naming the first ones."""
    notes = []
    for flaw in sorted({flaw for _, flaw in flawed}):
        names = [name for name, other in flawed if other == flaw]
        more = f" and {len(names) - 10} more" if len(names) > 10 else ""
        what = f"{counted(len(names), 'image')} {agree(len(names), 'is', 'are')} cut short and used"
        notes.append(f"{what} ({flaw}): {', '.join(names[:10])}{more}")
    return notes


def _collect(table: Table, form: Form | None, contents: list[str], ranges: Ranges) -> Collection:
    """The collection of the decoded rows, once their labels agree.

    Raises:
        DataError: Test or validation images have labels that no training image has.
    """
    table, notes = _trainable_classes(table)
    groups = None
    if table.groups is not None:
        groups = np.unique(table.groups, return_inverse=True)[1].astype(np.int64)
        groups[table.groups == ""] = -1
    assert isinstance(table.images, Tensor)
    content = hashlib.blake2b("\n".join((*contents, *table.classes, "", str(form))).encode(), digest_size=16)
    for array in (table.labels, table.parts, table.weights, np.empty(0) if groups is None else groups):
        content.update(array.tobytes())
    for start in range(0, len(table), 65536):
        content.update("\n".join(table.names[start : start + 65536]).encode())
    return Collection(
        rows=table.images,
        names=table.names,
        labels=table.labels,
        classes=table.classes,
        values=table.values,
        parts=table.parts,
        groups=groups,
        weights=table.weights,
        size=None if form is None else form.size,
        quarantine=table.quarantine,
        notes=tuple(dict.fromkeys((*table.notes, *ranges.notes(), *notes))),
        content=content.hexdigest(),
        copies=exact_copies(table.images, table.hashes),
        sizes=table.sizes,
        ranges=ranges.used,
    )


def _trainable_classes(table: Table) -> tuple[Table, list[str]]:
    """The table with the classes that training images have, and notes on classes without test images."""
    labeled = table.labels >= 0
    training = labeled & (table.parts != Part.TEST) & (table.parts != Part.VALIDATION)
    if not training.any():
        return table, []
    known = np.unique(table.labels[training])
    outside = np.setdiff1d(table.labels[labeled], known)
    if len(outside):
        raise unknown_classes([table.classes[code] for code in outside], [table.classes[code] for code in known])
    notes = _alike(table.classes[code] for code in known)
    lacking = np.setdiff1d(known, table.labels[labeled & (table.parts == Part.TEST)])
    if (table.parts == Part.TEST).any() and len(lacking):
        names = ", ".join(table.classes[code] for code in lacking[:10])
        notes.append(f"the test images hold none of {len(lacking)} classes: {names}")
    lookup = np.full(len(table.classes) + 1, UNLABELED, np.int64)
    lookup[known] = np.arange(len(known))
    return replace(
        table,
        labels=lookup[table.labels],
        values=tuple(table.values[code] for code in known),
        classes=tuple(table.classes[code] for code in known),
    ), notes


def _alike(classes: Iterable[str]) -> list[str]:
    """Notes on classes whose names differ in case only; they stay apart, since "A" and "a" may be letters."""
    spellings: dict[str, list[str]] = {}
    for name in classes:
        spellings.setdefault(name.casefold(), []).append(name)
    return [
        f"the classes {' and '.join(map(repr, names))} differ in case only and are different classes; "
        "give them one spelling if they mean the same"
        for names in spellings.values()
        if len(names) > 1
    ]
