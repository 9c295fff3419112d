"""A CSV or Parquet table that lists image files, one a row."""

from __future__ import annotations

import os
from difflib import get_close_matches
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from understudy.core.errors import DataError, nearest
from understudy.data.collection import UNLABELED, Names, Part
from understudy.data.table import Table, class_order, to_names

COLUMNS = ("path", "label", "split", "group", "weight")
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
_MAX_PARQUET_BYTES = 1 << 33


def read_manifest(path: Path) -> Table:
    """The rows of the manifest; paths are relative to its folder and may not leave it, an empty label is unlabeled.

    Raises:
        DataError: The file cannot be read as a table, or a column holds what it must not.
    """
    columns, ignored = _read_csv(path) if path.suffix.lower() == ".csv" else _read_parquet(path)
    if not len(columns["path"]):
        raise DataError(f"manifest {path} has no rows; list one image a row under a header line with at least 'path'")
    names = _names(columns["path"], path)
    labels, values = _labels(columns.get("label"), len(names), path)
    parts, hidden = _parts(columns.get("split"), len(names), path)
    one = len(ignored) == 1
    what = f"{'column' if one else 'columns'} {', '.join(ignored)} of {path.name} {'is' if one else 'are'} not used"
    notes = [what] if ignored else []
    if dropped := int((labels[hidden] >= 0).sum()):
        labels = np.where(hidden, UNLABELED, labels)
        notes.append(f"{dropped} rows of {path.name} have a label and the split 'unlabeled'; their labels are not used")
    groups = columns.get("group")
    root = os.path.abspath(path.parent) + os.sep
    table = Table(
        names=names,
        images=np.strings.add(to_names([root]), names),
        labels=labels,
        values=values,
        parts=parts,
        groups=None if groups is None else _to_names(groups),
        weights=_weights(columns.get("weight"), len(names), path),
        notes=tuple(notes),
    )
    return _without_repeats(table, path)


def _read_csv(path: Path) -> tuple[dict[str, Any], list[str]]:
    """The known columns of a CSV file as text, and the names of the others."""
    import pyarrow as pa
    from pyarrow import csv

    try:
        with csv.open_csv(path) as reader:
            header = reader.schema.names
        known = _known(header, path)
        options = csv.ConvertOptions(
            include_columns=known,
            column_types=dict.fromkeys(known, pa.string()),
            strings_can_be_null=True,
            quoted_strings_can_be_null=True,
            null_values=[""],
        )
        table = csv.read_csv(path, convert_options=options)
    except (pa.ArrowException, OSError) as error:
        raise _unreadable(path, error) from error
    return _plain(table, known), [name for name in header if name not in known]


def _read_parquet(path: Path) -> tuple[dict[str, Any], list[str]]:
    """The known columns of a Parquet file as text, and the names of the others."""
    import pyarrow as pa
    from pyarrow import parquet

    try:
        with parquet.ParquetFile(path) as file:
            header = file.schema_arrow.names
            known = _known(header, path)
            meta = file.metadata
            if sum(meta.row_group(i).total_byte_size for i in range(meta.num_row_groups)) > _MAX_PARQUET_BYTES:
                raise DataError(
                    f"manifest {path} unpacks to over {_MAX_PARQUET_BYTES >> 30} GB; keep the listed columns only"
                )
            table = file.read(columns=known)
        for at, name in enumerate(known):
            table = table.set_column(at, name, _as_text(table.column(name), name, path))
    except (pa.ArrowException, OSError) as error:
        raise _unreadable(path, error) from error
    return _plain(table, known), [name for name in header if name not in known]


def _as_text(column: Any, name: str, path: Path) -> Any:
    """A Parquet column of text, numbers or truth values as text; a whole number loses its `.0`, NaN becomes null."""
    import pyarrow as pa
    from pyarrow import compute as pc

    if pa.types.is_dictionary(column.type):
        column = column.cast(column.type.value_type)
    if pa.types.is_floating(column.type):
        column = pc.if_else(pc.is_nan(column), pa.scalar(None, column.type), column)
    if not (
        pa.types.is_string(column.type)
        or pa.types.is_large_string(column.type)
        or pa.types.is_integer(column.type)
        or pa.types.is_floating(column.type)
        or pa.types.is_boolean(column.type)
        or pa.types.is_null(column.type)
    ):
        raise DataError(f"column {name!r} of manifest {path} holds {column.type}; it must hold text or numbers")
    return column.cast(pa.string())


def _known(header: list[str], path: Path) -> list[str]:
    """The columns that are used; a near miss of a missing one is refused, since it would be ignored in silence."""
    if repeated := sorted({name for name in header if header.count(name) > 1 and name in COLUMNS}):
        raise DataError(f"manifest {path} has the column {repeated[0]!r} twice")
    for name in header:
        close = get_close_matches(name.strip().lower(), COLUMNS, n=1, cutoff=0.75)
        if name not in COLUMNS and close and close[0] not in header:
            raise DataError(f"manifest {path} has a column {name!r}; did you mean {close[0]!r}? rename or remove it")
    if "path" not in header:
        raise DataError(
            f"manifest {path} has no column 'path' but {', '.join(repr(name) for name in header)}; "
            f"known columns are {', '.join(COLUMNS)}, separated by commas in a CSV file"
        )
    return [name for name in COLUMNS if name in header]


def _plain(table: Any, known: list[str]) -> dict[str, Any]:
    """The columns, trimmed and without nulls, each in one piece."""
    from pyarrow import compute as pc

    plain = {name: pc.fill_null(table.column(name), "").combine_chunks() for name in known}
    return {name: column if name == "path" else pc.utf8_trim_whitespace(column) for name, column in plain.items()}


def _names(column: Any, path: Path) -> Names:
    """Paths relative to the manifest's folder, in one spelling each."""
    import pyarrow as pa
    from pyarrow import compute as pc

    root = os.path.abspath(path.parent)
    for pattern, replacement in ((r"/(\./)+", "/"), (r"/{2,}", "/"), (r"^(\./)+", "")):
        column = pc.replace_substring_regex(column, pattern, replacement)
    unusual = pc.match_substring_regex(column, r"^/|(^|/)\.\.?(/|$)|^$|^[A-Za-z]:[\\/]|\x00")
    positions = np.flatnonzero(np.asarray(unusual))
    if len(positions):
        texts = column.to_pylist()
        for position in positions:
            texts[position] = _inside(texts[position], root, path, int(position))
        column = pa.array(texts, pa.string())
    return _to_names(column)


def _inside(text: str, root: str, path: Path, position: int) -> str:
    if not text:
        raise DataError(f"row {position + 1} of manifest {path} has no path")
    relative = os.path.relpath(os.path.join(root, text), root).replace(os.sep, "/") if "\0" not in text else ".."
    if relative == ".." or relative.startswith("../") or os.path.isabs(relative):
        raise DataError(
            f"row {position + 1} of manifest {path} names {text!r}, which is outside the manifest's folder; "
            "move the manifest above all its images"
        )
    return relative


def _labels(column: Any, count: int, path: Path) -> tuple[NDArray[np.int64], tuple[object, ...]]:
    """Codes and distinct labels; whole numbers written as `1.0`, as tables with gaps come out, read as `1`."""
    from pyarrow import compute as pc

    if column is None:
        return np.full(count, UNLABELED, np.int64), ()
    encoded = pc.dictionary_encode(column)
    texts: list[str] = encoded.dictionary.to_pylist()
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
    return lookup[np.asarray(encoded.indices)], values


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
            "labels, splits, groups or weights; keep one of them"
        )
    kept = np.zeros(len(table), np.bool_)
    kept[first] = True
    return table.take(kept).noting(f"{len(table) - len(first)} repeated rows of {path.name} count once")


def _to_names(column: Any) -> Names:
    return to_names(column.to_numpy(zero_copy_only=False))


def _unreadable(path: Path, error: Exception) -> DataError:
    reason = " ".join(str(getattr(error, "strerror", None) or error).split())[:200]
    return DataError(f"manifest {path} cannot be read as a {path.suffix[1:].upper()} table: {reason}")
