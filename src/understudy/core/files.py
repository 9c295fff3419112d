"""JSON that shows its own damage: every table and every line carries a checksum of its content."""

from __future__ import annotations

import json
import os
import zipfile
import zlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

_SEAL = "checksum"


class DamagedError(ValueError):
    """The content does not agree with its checksum, or is not JSON; the text says where."""


def sealed(table: Mapping[str, Any], after: str = "") -> dict[str, Any]:
    """The table with its checksum.

    Args:
        after: Checksum of the line before this one, so that a lost line breaks the chain.
    """
    return {**table, _SEAL: _checksum(table, after)}


def unsealed(text: str, after: str = "") -> tuple[dict[str, Any], str]:
    """The table of a JSON text that `sealed` was written to, and its checksum.

    Raises:
        DamagedError: It was changed or cut short.
    """
    try:
        table = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise DamagedError(f"not JSON: {error}") from None
    if not isinstance(table, dict) or _SEAL not in table:
        raise DamagedError("its checksum is missing")
    seal = table.pop(_SEAL)
    if seal != _checksum(table, after):
        raise DamagedError("its content does not match its checksum")
    return table, seal


def _checksum(table: Mapping[str, Any], after: str) -> str:
    # CRC-32 finds every accident of up to 32 bits in a row; nobody forges a run folder against himself.
    return f"{zlib.crc32((after + json.dumps(table)).encode()):08x}"


class JsonLines:
    """A file of tables, one a line, each checksum continuing that of the line before."""

    def __init__(self, path: Path) -> None:
        """Read the file, if it exists.

        Raises:
            DamagedError: A line was changed or lost. A last line without its end, cut short by a kill, is left out.
        """
        self._path = path
        self._seal = ""
        self.torn = False
        self.entries: list[dict[str, Any]] = []
        if not path.exists():
            return
        try:
            text = path.read_bytes().decode("utf-8")
        except UnicodeDecodeError as error:
            raise DamagedError(str(error)) from None
        *lines, rest = text.split("\n")
        self.torn = bool(rest)
        for number, line in enumerate(lines, 1):
            try:
                entry, self._seal = unsealed(line, self._seal)
            except DamagedError as error:
                raise DamagedError(f"line {number}: {error}") from None
            self.entries.append(entry)

    def append(self, entry: Mapping[str, Any]) -> None:
        """Add a line, on disk before this returns."""
        if self.torn:
            self.rewrite(self.entries)
        line = sealed(entry, self._seal)
        _write(self._path, "a", [line])
        self.entries.append(dict(entry))
        self._seal = line[_SEAL]

    def rewrite(self, entries: Sequence[Mapping[str, Any]]) -> None:
        """Replace all lines, whole or not at all."""
        lines: list[dict[str, Any]] = []
        seal = ""
        for entry in entries:
            lines.append(sealed(entry, seal))
            seal = lines[-1][_SEAL]
        temporary = self._path.with_name(f"{self._path.name}.tmp")
        _write(temporary, "w", lines)
        os.replace(temporary, self._path)
        self.entries, self._seal, self.torn = [dict(entry) for entry in entries], seal, False


def _write(path: Path, mode: str, lines: Sequence[Mapping[str, Any]]) -> None:
    with path.open(mode, encoding="utf-8") as file:
        file.writelines(json.dumps(line) + "\n" for line in lines)
        file.flush()
        os.fsync(file.fileno())


def load_arrays(path: Path) -> dict[str, NDArray[Any]] | None:
    """The arrays of an npz file, whose checksums NumPy verifies, or None if it is missing or damaged."""
    try:
        with zipfile.ZipFile(path), np.load(path, allow_pickle=False) as arrays:
            return {name: arrays[name] for name in arrays.files}
    except (OSError, ValueError, KeyError, EOFError, NotImplementedError, zipfile.BadZipFile, zlib.error):
        return None
