"""Files written whole or not at all, and JSON that shows its own damage by a checksum of its content."""

from __future__ import annotations

import contextlib
import errno
import json
import os
import shutil
import zipfile
import zlib
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from understudy.core.errors import RunFolderError, UserError

if TYPE_CHECKING:
    from numpy.typing import NDArray

FORMAT = 1  # of everything written; raised when an older version would misread it
_SEAL = "checksum"


@contextlib.contextmanager
def atomic(path: Path, *, parents: bool = False, replaced: Path | None = None) -> Iterator[Path]:
    """Yield a temporary path that replaces `path` once the block has written it; an error leaves `path` as it was.

    Args:
        parents: Create missing parent folders.
        replaced: Where the file that is replaced is kept.

    Raises:
        UserError: The disk is full, or the folder cannot be written.
    """
    temporary = path.with_name(f"{path.name}.tmp")
    with explain_write_errors(path.parent):
        if parents:
            path.parent.mkdir(parents=True, exist_ok=True)
        try:
            yield temporary
            with temporary.open("rb+") as file:  # else a crash of the machine could leave an empty file of that name
                os.fsync(file.fileno())
            if replaced is not None and path.exists():
                os.replace(path, replaced)
            os.replace(temporary, path)
        except BaseException:
            with contextlib.suppress(OSError):
                temporary.unlink(missing_ok=True)
            raise


@contextlib.contextmanager
def explain_write_errors(folder: Path) -> Iterator[None]:
    """Explain to the user why the operating system refuses to write.

    Raises:
        UserError: The disk is full, or the folder cannot be written.
    """
    try:
        yield
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            free = _free_bytes(folder)
            raise UserError(
                f"the disk that holds {folder} is full ({free / 1e6:.0f} MB free); make room and repeat the command, "
                "it continues from the last checkpoint"
            ) from None
        refusals = (PermissionError, NotADirectoryError, FileExistsError, FileNotFoundError, IsADirectoryError)
        if error.errno == errno.EROFS or isinstance(error, refusals):
            raise UserError(f"cannot write to {folder}: {error.strerror}; choose another folder") from None
        raise


def _free_bytes(folder: Path) -> int:
    while not folder.exists():
        folder = folder.parent
    return shutil.disk_usage(folder).free


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
    # CRC-32 finds every accident of up to 32 bits in a row; run folders need no protection against forgery.
    return f"{zlib.crc32((after + json.dumps(table)).encode()):08x}"


def write_json(path: Path, value: Any) -> None:
    """Write a JSON file, whole or not at all; a table gets a checksum, which `read_json` verifies."""
    value = sealed(value) if isinstance(value, dict) else value
    with atomic(path) as temporary, temporary.open("w", encoding="utf-8") as file:
        json.dump(value, file, indent=2, ensure_ascii=False)
        file.write("\n")


def read_json(path: Path) -> Any:
    """The table of a JSON file that `write_json` wrote.

    Raises:
        RunFolderError: The file is missing or damaged.
    """
    try:
        return unsealed(path.read_text(encoding="utf-8"))[0]
    except FileNotFoundError:
        raise RunFolderError(f"{path} does not exist; {path.parent} is no run folder, or its run never began") from None
    except (DamagedError, UnicodeDecodeError) as error:
        raise RunFolderError(f"{path} is damaged ({error}); delete the run folder and start again") from None
    except OSError as error:
        raise RunFolderError(
            f"{path} cannot be read ({error.strerror}); delete the run folder and start again"
        ) from None


def check_format(table: dict[str, Any], folder: Path) -> None:
    """Refuse a folder that a newer version wrote.

    Raises:
        RunFolderError: Its format number is above this version's.
    """
    if int(table.get("format", 0)) > FORMAT:
        raise RunFolderError(
            f"{folder} was written by a newer version (format {table['format']}, this one reads up to {FORMAT}); "
            "upgrade understudy to use it"
        )


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
        with atomic(self._path) as temporary:
            _write(temporary, "w", lines)
        self.entries, self._seal, self.torn = [dict(entry) for entry in entries], seal, False


def _write(path: Path, mode: str, lines: Sequence[Mapping[str, Any]]) -> None:
    with path.open(mode, encoding="utf-8") as file:
        file.writelines(json.dumps(line) + "\n" for line in lines)
        file.flush()
        os.fsync(file.fileno())


def load_arrays(path: Path) -> dict[str, NDArray[Any]] | None:
    """The arrays of an npz file, whose checksums NumPy verifies, or None if it is missing or damaged."""
    import numpy as np

    try:
        with zipfile.ZipFile(path), np.load(path, allow_pickle=False) as arrays:
            return {name: arrays[name] for name in arrays.files}
    except (OSError, ValueError, KeyError, EOFError, NotImplementedError, zipfile.BadZipFile, zlib.error):
        return None
