"""Carry out a comparison that the command line asks for, and print its report."""

from __future__ import annotations

import shlex
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

from understudy.cli.request import Request, discard_unstarted
from understudy.display.comparing import watching
from understudy.display.console import open_console

if TYPE_CHECKING:
    from understudy.comparison.result import Comparison

REQUEST = "request.json"
COMPARE, ABLATE = "compare", "ablate"
_GRID = ("num_labels", "seeds", "budget")
_ARGUMENTS = {COMPARE: ("methods", "variants", "upper_bound", *_GRID), ABLATE: ("method", "recipe", *_GRID)}


def run(request: Request, folder: Path, jobs: int | None, *, fresh: bool, command: str = COMPARE) -> None:
    """Compare in the folder and print the report.

    Args:
        command: What was asked for: `compare`, or `ablate`.
        fresh: Whether the folder was opened for this command, which may then remove it if training never began.

    Raises:
        UserError: Something given cannot be used, or every run failed.
        KeyboardInterrupt: It was stopped; the text says how to go on.
    """
    from understudy.api.compare import ablate, compare
    from understudy.core.errors import Interrupted, UserError
    from understudy.display.comparison_tables import print_report

    console = open_console()
    resume = f"understudy {command} --resume {shlex.quote(str(folder))}"
    options = dict(request.options)
    arguments = {name: options.pop(name) for name in _ARGUMENTS[command] if name in options}
    if command == COMPARE and not arguments.get("variants"):
        arguments.setdefault("methods", "all")

    def save() -> None:
        save_request(request, folder, command)

    if fresh:
        save()
    carry_out: Callable[..., Comparison] = ablate if command == ABLATE else compare
    try:
        with watching(console, save) as watch:
            found = carry_out(
                request.source,
                unlabeled=request.unlabeled,
                test=request.test,
                validation=request.validation,
                folder=folder,
                cache=request.cache,
                jobs=jobs,
                watch=watch,
                config=options,
                **arguments,
            )
    except UserError as error:
        if not fresh or discard_unstarted(folder):
            raise
        raise UserError(f"{error}; to go on with what is saved: {resume}") from None
    except (Interrupted, KeyboardInterrupt):
        raise KeyboardInterrupt(f"interrupted; everything is saved, go on with: {resume}") from None
    print_report(console, found)


def save_request(request: Request, folder: Path, command: str) -> None:
    """Write what was asked for into the folder, for `--resume`."""
    from understudy.core.files import FORMAT, write_json

    write_json(folder / REQUEST, {"format": FORMAT, "command": command, **asdict(request)})


def load_request(folder: Path, command: str = COMPARE) -> Request:
    """What the last comparison in the folder was asked for.

    Raises:
        UserError: The folder is not there, or holds nothing that this command made.
    """
    from understudy.core.errors import UserError
    from understudy.core.files import check_format, read_json

    if not (folder / REQUEST).exists():
        what = "holds no comparison of the command line" if folder.is_dir() else "is not there"
        raise UserError(f"{folder} {what}, so there is nothing to resume; name a folder that `{command}` made")
    found = read_json(folder / REQUEST)
    check_format(found, folder)
    made_by = found.pop("command", COMPARE)
    if made_by != command:
        raise UserError(f"{folder} is of another command; go on with: understudy {made_by} --resume {folder}")
    return Request(**{name: value for name, value in found.items() if name != "format"})


def holds_comparison(folder: Path) -> bool:
    """Whether a comparison was begun in the folder, from the command line or from Python."""
    from understudy.core.errors import RunFolderError
    from understudy.core.files import read_json

    if (folder / REQUEST).exists():
        return True
    try:
        return bool(read_json(folder / "identity.json").get("kind") == "comparison")
    except (RunFolderError, NotADirectoryError):
        return False
