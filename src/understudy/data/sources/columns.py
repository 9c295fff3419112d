"""The columns of a CSV or Parquet table as text, whatever program wrote it."""

from __future__ import annotations

import io
import os
import stat
from collections.abc import Callable
from difflib import get_close_matches
from pathlib import Path
from typing import Any

from understudy.core.errors import DataError

COLUMNS = ("path", "label", "split", "group", "weight", "source")
# Other usual names of the two main columns, read with a note where the main name is missing.
_ALIASES = {
    "path": ("filename", "file_name", "filepath", "file_path", "file", "image", "image_path", "img", "image_id"),
    "label": ("class", "class_name", "category", "target", "species", "y"),
}
_MAX_PARQUET_BYTES = 1 << 33  # 8 GB once unpacked; a manifest of 10 million images has 1 GB


def read_columns(path: Path) -> tuple[dict[str, Any], list[str], list[str]]:
    """The known columns as text, the names of the others, and notes on what was recognized.

    Raises:
        DataError: The file cannot be read as a table, or its header names no `path`.
    """
    _check_file(path)
    return _read_csv(path) if path.suffix.lower() == ".csv" else _read_parquet(path)


def _check_file(path: Path) -> None:
    """Refuse what would block or is no file, before it is opened."""
    try:
        mode = os.stat(path).st_mode
    except (OSError, ValueError) as error:
        raise _unreadable(path, error) from error
    if not stat.S_ISREG(mode):
        raise DataError(f"manifest {path} is not a regular file; give a .csv or .parquet file")
    if not _is_text(os.path.abspath(path)):
        shown = os.fsencode(path).decode("utf-8", "replace")
        raise DataError(f"manifest {shown} cannot be used: its name or folder is not valid UTF-8; rename it")


def _is_text(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def _read_csv(path: Path) -> tuple[dict[str, Any], list[str], list[str]]:
    """The known columns of a CSV file as text, the names of the others, and notes on what was recognized."""
    import pyarrow as pa
    from pyarrow import csv

    try:
        source, separator, notes = _decoded(path)
        parse = csv.ParseOptions(delimiter=separator)
        with csv.open_csv(source(), parse_options=parse) as reader:
            header = reader.schema.names
        known = _known(header, path)
        used = list(known.values())
        options = csv.ConvertOptions(
            include_columns=used,
            column_types=dict.fromkeys(used, pa.string()),
            strings_can_be_null=True,
            quoted_strings_can_be_null=True,
            null_values=[""],
        )
        table = csv.read_csv(source(), parse_options=parse, convert_options=options)
    except (pa.ArrowException, OSError) as error:
        raise _unreadable(path, error) from error
    return _plain(table, known), [name for name in header if name not in used], notes + _renamed(known, path)


def _decoded(path: Path) -> tuple[Callable[[], Any], str, list[str]]:
    """How to open the text as UTF-8, its separator, and notes; a file in UTF-8 is not held in memory."""
    with path.open("rb") as file:
        head = file.read(1 << 16)
    notes, content = [], None
    if head.startswith((b"\xff\xfe", b"\xfe\xff")):
        content = _as_utf8(path, "utf-16", "UTF-16")
    elif not _is_utf8(path):
        content = _as_utf8(path, "cp1252", "the Windows code page")
        notes.append(f"{path.name} is not UTF-8 and is read in the Windows code page (cp1252)")
    text = (head if content is None else content[: 1 << 16]).removeprefix(b"\xef\xbb\xbf")
    first, _, rest = text.partition(b"\n")
    if first.strip().lower().startswith(b"sep=") and len(first.strip()) == 5:  # a line of Excel's own
        separator = first.strip()[-1:].decode("ascii", "replace")
        whole = path.read_bytes() if content is None else content
        content = whole.partition(b"\n")[2]
        first = rest.partition(b"\n")[0]
    else:
        separator = max(",;\t", key=lambda mark: first.count(mark.encode()))
    if separator != ",":
        what = {";": "semicolons", "\t": "tabs"}.get(separator, repr(separator))
        notes.append(f"the columns of {path.name} are separated by {what}")
    held = content
    return (lambda: path) if held is None else (lambda: io.BytesIO(held)), separator, notes


def _is_utf8(path: Path) -> bool:
    try:
        with path.open(encoding="utf-8") as file:
            while file.read(1 << 22):
                pass
    except UnicodeDecodeError:
        return False
    return True


def _as_utf8(path: Path, encoding: str, words: str) -> bytes:
    try:
        return path.read_bytes().decode(encoding).encode()
    except UnicodeError as error:
        raise DataError(
            f"manifest {path} cannot be read as a CSV table: it is neither UTF-8 nor {words}; save it as CSV UTF-8"
        ) from error


def _read_parquet(path: Path) -> tuple[dict[str, Any], list[str], list[str]]:
    """The known columns of a Parquet file as text, the names of the others, and notes on what was recognized."""
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
            table = file.read(columns=list(known.values()))
        for at, name in enumerate(table.column_names):
            table = table.set_column(at, name, _as_text(table.column(name), name, path))
    except (pa.ArrowException, OSError) as error:
        raise _unreadable(path, error) from error
    return _plain(table, known), [name for name in header if name not in known.values()], _renamed(known, path)


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


def _known(header: list[str], path: Path) -> dict[str, str]:
    """The header's name of each column that is used; a near miss is refused, since it would be ignored in silence."""
    if repeated := sorted({name for name in header if header.count(name) > 1 and name in COLUMNS}):
        raise DataError(f"manifest {path} has the column {repeated[0]!r} twice")
    known = {name: name for name in COLUMNS if name in header}
    plain = {name.strip().lower(): name for name in header if header.count(name) == 1}
    for column, names in _ALIASES.items():
        if column not in known and (other := next((name for name in (column, *names) if name in plain), None)):
            known[column] = plain[other]
    for name in header:
        close = get_close_matches(name.strip().lower(), COLUMNS, n=1, cutoff=0.75)
        if name not in known.values() and close and close[0] not in known and close[0] != "source":
            raise DataError(f"manifest {path} has a column {name!r}; did you mean {close[0]!r}? rename or remove it")
    if "path" not in known:
        raise DataError(
            f"manifest {path} has no column 'path' but {', '.join(repr(name) for name in header)}; "
            f"known columns are {', '.join(COLUMNS)}, separated by commas in a CSV file"
        )
    return {name: known[name] for name in COLUMNS if name in known}


def _renamed(known: dict[str, str], path: Path) -> list[str]:
    return [f"column {own!r} of {path.name} is read as {name!r}" for name, own in known.items() if own != name]


def _plain(table: Any, known: dict[str, str]) -> dict[str, Any]:
    """The columns, trimmed and without nulls, each in one piece."""
    from pyarrow import compute as pc

    plain = {name: pc.fill_null(table.column(own), "").combine_chunks() for name, own in known.items()}
    return {name: column if name == "path" else pc.utf8_trim_whitespace(column) for name, column in plain.items()}


def _unreadable(path: Path, error: Exception) -> DataError:
    reason = " ".join(str(getattr(error, "strerror", None) or error).split())[:200]
    return DataError(f"manifest {path} cannot be read as a {path.suffix[1:].upper()} table: {reason}")
