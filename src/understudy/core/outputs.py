"""Checks that files and folders can be written, made before hours of work and not after."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Sequence
from pathlib import Path

from understudy.core.arguments import path_problem, quoted
from understudy.core.errors import UserError


def check_output(
    path: Path,
    what: str,
    suffixes: Sequence[str] = (),
    *,
    option: str = "",
    reads: Sequence[str] = (),
    overwrite: bool = True,
) -> None:
    """Check that a file of that name can be written, and create its folder.

    Args:
        what: The content, such as "a report".
        suffixes: What the name may end in; anything if empty.
        option: The command's option that names the file, for the error.
        reads: What the command reads, which must not be replaced.
        overwrite: Whether an existing file may be replaced.

    Raises:
        UserError: The name is not valid UTF-8, too long, of another kind of file or of a folder, it cannot be written
            there, it is a file that is read, or it exists and may not be replaced.
    """
    again = f"give another name{f' with {option}' if option else ''}"
    check_name(path, again)
    if suffixes and path.suffix.lower() not in suffixes:
        kinds = " or ".join(suffixes)
        raise UserError(f"{what} is a {kinds} file, and {path.name!r} was given; name one that ends in {kinds}")
    try:
        if path.is_dir():
            raise UserError(f"{path} is a folder, and {what} is a file; {again}")
        if path.exists() and not path.is_file():
            raise UserError(f"{path} is a device or a pipe, and {what} is a file; {again}")
        if path.exists() and any(os.path.exists(name) and os.path.samefile(path, name) for name in reads):
            raise UserError(f"{path} is read, and {what} would replace it; {again}")
        if path.exists() and not overwrite:
            raise UserError(f"{path} exists already; add --overwrite to replace it, or {again}")
        path.parent.mkdir(parents=True, exist_ok=True)
        tempfile.TemporaryFile(dir=path.parent).close()
    except OSError as error:
        raise UserError(f"{path} cannot be written ({error.strerror or error}); {again}") from None
    if path.exists() and not os.access(path, os.W_OK):
        raise UserError(f"{path} is read-only; {again}")


def check_folder(path: Path, *, option: str) -> None:
    """Create the folder and check that files can be written into it.

    Args:
        option: The command's option that names the folder, for the error.

    Raises:
        UserError: They cannot, or the name is not valid UTF-8 or too long.
    """
    again = f"give another folder with {option}"
    check_name(path, again)
    try:
        path.mkdir(parents=True, exist_ok=True)
        tempfile.TemporaryFile(dir=path).close()
    except OSError as error:
        raise UserError(f"{path} cannot be written ({error.strerror or error}); {again}") from None


def check_name(path: Path, again: str) -> None:
    """Check that the path is text that a file system takes.

    Args:
        again: What to do otherwise, for the error.

    Raises:
        UserError: It is not valid UTF-8, too long, or holds a NUL character.
    """
    problem = path_problem(path.with_name(f"{path.name}.tmp") if path.name else path)  # what is written first
    try:
        str(path).encode()
    except UnicodeEncodeError:
        problem = "is not valid UTF-8"
    if problem is not None:
        raise UserError(f"the name {quoted(str(path))} {problem}; {again}")


def check_json(path: Path) -> None:
    """Check that figures can be written there as JSON.

    Raises:
        UserError: Another kind of file would be replaced, or it cannot be written.
    """
    if path.suffix.lower() != ".json" and path.is_file():
        raise UserError(f"{path} exists and is not a JSON file; give another name with --json")
    check_output(path, "JSON", option="--json")
