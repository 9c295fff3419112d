"""A CSV or Parquet table that lists image files, one a row."""

from __future__ import annotations

import os
import unicodedata
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from understudy.core.errors import DataError, nearest
from understudy.core.text import agree, counted
from understudy.data.collection import UNLABELED, Names, Part
from understudy.data.sources.columns import read_columns
from understudy.data.table import Table, class_order, to_names

# How tables write a missing label, in lower case; taken as unlabeled, with a note.
_MISSING = frozenset(("nan", "none", "null", "na", "n/a", "<na>", "#n/a", "?", "-1", "-1.0"))
_SOURCES = ("", "person", "model")
_SPLITS = {
    "": Part.FREE,
    "train": Part.TRAIN,
    "training": Part.TRAIN,
    "unlabeled": Part.TRAIN,
    "val": Part.VALIDATION,
    "valid": Part.VALIDATION,
    "validation": Part.VALIDATION,
    "test": Part.TEST,
}


def read_manifest(path: Path) -> Table:
    """The rows of the manifest; an empty label is unlabeled.

    Relative paths start at its folder and may not leave it; absolute paths stand as they are. Labels whose `source` is
    `model` only train.

    Raises:
        DataError: The file cannot be read as a table, or a column holds what it must not.
    """
    columns, ignored, renamed = read_columns(path)
    if not len(columns["path"]):
        raise DataError(f"manifest {path} has no rows; list one image a row under a header line with at least 'path'")
    columns, blank = _without_blank(columns)
    names, windows = _names(columns["path"], path)
    labels, values, missing = _labels(columns.get("label"), len(names), path)
    parts, hidden = _parts(columns.get("split"), len(names), path)
    ignored = [name for name in ignored if name.strip()]
    one = len(ignored) == 1
    what = f"{'column' if one else 'columns'} {', '.join(ignored)} of {path.name} {'is' if one else 'are'} not used"
    notes = [what] if ignored else []
    notes += renamed + missing
    if blank:
        notes.append(f"{counted(blank, 'empty row')} of {path.name} {agree(blank, 'is', 'are')} skipped")
    if windows:
        what = f"{counted(windows, 'path')} of {path.name} {agree(windows, 'is', 'are')}"
        notes.append(f"{what} written with backslashes, which are read as slashes")
    if dropped := int((labels[hidden] >= 0).sum()):
        labels = np.where(hidden, UNLABELED, labels)
        what = f"{counted(dropped, 'row')} of {path.name} {agree(dropped, 'has', 'have')}"
        notes.append(f"{what} a label and the split 'unlabeled'; such labels are not used")
    groups = columns.get("group")
    parts = np.where(
        _by_model(columns.get("source"), len(names)) & (labels >= 0) & (parts != Part.LEFT_OUT),
        Part.PSEUDO,
        parts,
    )
    if pseudo := int((parts == Part.PSEUDO).sum()):
        what = f"{counted(pseudo, 'label')} of {path.name} {agree(pseudo, 'comes', 'come')}"
        notes.append(f"{what} from a model: such labels train, and never validate or test")
    table = Table(
        names=names,
        images=_files(names, os.path.abspath(path.parent)),
        labels=labels,
        values=values,
        parts=parts.astype(np.uint8),
        groups=None if groups is None else _to_names(groups),
        weights=_weights(columns.get("weight"), len(names), path),
        notes=tuple(notes),
    )
    return _without_repeats(table, path)


def written_paths(files: Sequence[str], folder: Path) -> list[str]:
    """The files as a manifest in that folder names them: relative to it, or absolute when not below it."""
    root = os.path.abspath(folder)
    paths = [os.path.abspath(file) for file in files]
    relative = [os.path.relpath(path, root).replace(os.sep, "/") for path in paths]
    return [path if short.startswith("../") else short for path, short in zip(paths, relative, strict=True)]


def _without_blank(columns: dict[str, Any]) -> tuple[dict[str, Any], int]:
    """The rows in which anything is written, and the number of the others, which spreadsheets leave behind."""
    from pyarrow import compute as pc

    blank = np.ones(len(columns["path"]), np.bool_)
    for column in columns.values():
        blank &= np.asarray(pc.equal(pc.utf8_trim_whitespace(column), ""))
    if not blank.any() or blank.all():
        return columns, 0
    kept = np.flatnonzero(~blank)
    return {name: column.take(kept) for name, column in columns.items()}, int(blank.sum())


def _names(column: Any, path: Path) -> tuple[Names, int]:
    """Paths in one spelling each, relative to the folder or absolute, and how many had backslashes."""
    import pyarrow as pa
    from pyarrow import compute as pc

    root = os.path.abspath(path.parent)
    column, windows = _with_slashes(column, root, path)
    for pattern, replacement in ((r"/(\./)+", "/"), (r"/{2,}", "/"), (r"^(\./)+", "")):
        column = pc.replace_substring_regex(column, pattern, replacement)
    unusual = pc.match_substring_regex(column, r"^/|(^|/)\.\.?(/|$)|^$|^[A-Za-z]:[\\/]|\x00")
    positions = np.flatnonzero(np.asarray(unusual))
    if len(positions):
        texts = column.to_pylist()
        for position in positions:
            texts[position] = _inside(texts[position], root, path, int(position))
        column = pa.array(texts, pa.string())
    return _to_names(column), windows


def _with_slashes(column: Any, root: str, path: Path) -> tuple[Any, int]:
    """The paths with slashes for backslashes, except of files that have a backslash in their name."""
    import pyarrow as pa
    from pyarrow import compute as pc

    positions = np.flatnonzero(np.asarray(pc.match_substring(column, "\\")))
    if not len(positions):
        return column, 0
    texts, changed = column.to_pylist(), 0
    for position in positions:
        text = texts[position]
        if text[1:3] in (":\\", ":/") or text.startswith("\\\\"):
            raise DataError(
                f"row {position + 1} of manifest {path} names {text!r}, a path on a drive of Windows; "
                "write paths relative to the manifest's folder"
            )
        if "\0" in text or not os.path.exists(os.path.join(root, text)):
            texts[position], changed = text.replace("\\", "/"), changed + 1
    return pa.array(texts, pa.string()), changed


def _files(names: Names, root: str) -> Names:
    """The files that the paths name; where one is missing, another Unicode form of its name may be there."""
    files = np.strings.add(to_names([root + os.sep]), names)
    absolute = np.strings.startswith(names, "/")
    files[absolute] = names[absolute]
    for position, name in enumerate(names):
        if not name.isascii() and "\0" not in name and not os.path.exists(files[position]):
            for form in ("NFC", "NFD"):
                other = os.path.join(root, unicodedata.normalize(form, name))
                if os.path.exists(other):
                    files[position] = other
                    break
    return files


def _inside(text: str, root: str, path: Path, position: int) -> str:
    if not text:
        raise DataError(f"row {position + 1} of manifest {path} has no path")
    if text.startswith("/") and "\0" not in text:
        full = os.path.normpath(text)
        return os.path.relpath(full, root) if full.startswith(root.rstrip("/") + "/") else full
    relative = os.path.relpath(os.path.join(root, text), root).replace(os.sep, "/") if "\0" not in text else ".."
    if relative == ".." or relative.startswith("../") or os.path.isabs(relative):
        raise DataError(
            f"row {position + 1} of manifest {path} names {text!r}, which is outside the manifest's folder; "
            "move the manifest above all its images"
        )
    return relative


def _labels(column: Any, num_rows: int, path: Path) -> tuple[NDArray[np.int64], tuple[object, ...], list[str]]:
    """Codes, distinct labels, and notes; whole numbers written as `1.0`, as tables with gaps come out, read as `1`."""
    from pyarrow import compute as pc

    if column is None:
        return np.full(num_rows, UNLABELED, np.int64), (), []
    encoded = pc.dictionary_encode(column)
    raw: list[str] = encoded.dictionary.to_pylist()
    indices = np.asarray(encoded.indices)
    counts = np.bincount(indices, minlength=len(raw))
    missing = [(text, number) for text, number in zip(raw, counts.tolist(), strict=True) if text.lower() in _MISSING]
    notes = [
        f"{counted(number, 'label')} of {path.name} {agree(number, 'is', 'are')} {text!r} and "
        f"{agree(number, 'counts', 'count')} as unlabeled"
        for text, number in missing
    ]
    texts = ["" if text.lower() in _MISSING else unicodedata.normalize("NFC", text) for text in raw]
    if {text.lower() for text in texts if text} in ({"true", "false"}, {"true"}, {"false"}):
        texts = [text.lower() for text in texts]  # Parquet writes truth values in small letters
    given = [text for text in texts if text]
    numbers = [text for text in given if _is_number(text)]
    if len(numbers) == len(given):
        if fractions := [text for text in numbers if float(text) != int(float(text))]:
            raise DataError(f"manifest {path} has the label {fractions[0]!r}; a label is the name or number of a class")
        texts = [text.partition(".")[0] for text in texts]
    elif numbers and (words := [text for text in given if len(text) > 1 and not _is_number(text)]):
        # Single characters are fine: sets of letters and digits have them as classes.
        raise DataError(
            f"column 'label' of manifest {path} mixes numbers such as {numbers[0]!r} with names such as {words[0]!r}; "
            "write all labels as numbers or all as names"
        )
    values = class_order(text for text in texts if text)
    codes = {value: code for code, value in enumerate(values)} | {"": UNLABELED}
    lookup = np.array([codes[text] for text in texts], np.int64)
    return lookup[indices], values, notes


def _is_number(text: str) -> bool:
    try:
        return np.isfinite(float(text)) and text.strip("+-0123456789.") == ""
    except ValueError:
        return False


def _parts(column: Any, count: int, path: Path) -> tuple[NDArray[np.uint8], NDArray[np.bool_]]:
    """Each row's part, and whether the manifest says that it is unlabeled."""
    from pyarrow import compute as pc

    if column is None:
        return np.full(count, Part.FREE, np.uint8), np.zeros(count, np.bool_)
    encoded = pc.dictionary_encode(pc.utf8_lower(column))
    texts: list[str] = encoded.dictionary.to_pylist()
    for text in texts:
        if text not in _SPLITS:
            raise DataError(f"manifest {path} has the split {text!r}; {nearest(text, filter(None, _SPLITS))}")
    indices = np.asarray(encoded.indices)
    hidden = np.array([text == "unlabeled" for text in texts], np.bool_)[indices]
    return np.array([_SPLITS[text] for text in texts], np.uint8)[indices], hidden


def _by_model(column: Any, count: int) -> NDArray[np.bool_]:
    """Which rows say that a model wrote their label; a column `source` of other words is for the user alone."""
    from pyarrow import compute as pc

    if column is None or not set(pc.unique(column).to_pylist()) <= set(_SOURCES):
        return np.zeros(count, np.bool_)
    return np.asarray(pc.equal(column, "model"))


def _weights(column: Any, count: int, path: Path) -> NDArray[np.float32]:
    import pyarrow as pa
    from pyarrow import compute as pc

    if column is None:
        return np.ones(count, np.float32)
    try:
        weights = np.asarray(pc.cast(pc.if_else(pc.equal(column, ""), "1", column), pa.float32()))
    except pa.ArrowInvalid as error:
        raise DataError(f"column 'weight' of manifest {path} must hold numbers: {error}") from error
    if wrong := np.flatnonzero(~(np.isfinite(weights) & (weights >= 0))).tolist():
        raise DataError(
            f"row {wrong[0] + 1} of manifest {path} has the weight {column[wrong[0]]}; give a number from 0 up"
        )
    return weights


def _without_repeats(table: Table, path: Path) -> Table:
    """One row per path; rows that say the same of a path count once."""
    _, first, inverse = np.unique(table.names, return_index=True, return_inverse=True)
    if len(first) == len(table):
        return table
    original = first[inverse]
    same = (table.labels == table.labels[original]) & (table.parts == table.parts[original])
    same &= table.weights == table.weights[original]
    if table.groups is not None:
        same &= table.groups == table.groups[original]
    if not same.all():
        row = int(np.flatnonzero(~same)[0])
        raise DataError(
            f"manifest {path} lists {table.names[row]!r} in rows {original[row] + 1} and {row + 1} with different "
            "labels, splits, groups, weights or sources; keep one of them"
        )
    kept = np.zeros(len(table), np.bool_)
    kept[first] = True
    repeated = len(table) - len(first)
    what = f"{counted(repeated, 'repeated row')} of {path.name} {agree(repeated, 'counts', 'count')} once"
    return table.take(kept).noting(what)


def _to_names(column: Any) -> Names:
    return to_names(column.to_numpy(zero_copy_only=False))
