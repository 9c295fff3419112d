"""Run a comparison request and print its report; shared by `compare` and `ablate`."""

from __future__ import annotations

import shlex
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from understudy.cli.request import ABLATE, COMPARE, REQUEST, Request, discard_unstarted, open_folder
from understudy.core.errors import Interrupted, UserError
from understudy.display.comparison_progress import watching
from understudy.display.console import open_console

if TYPE_CHECKING:
    from understudy.comparison.result import ComparisonResult

_COMMON = ("num_labels", "seeds", "budget")
_ARGUMENTS = {COMPARE: ("methods", "variants", "upper_bound", *_COMMON), ABLATE: ("method", "recipe", *_COMMON)}


def run_in(request: Request, out: Path | None, jobs: int | None) -> None:
    """Run the request in a new folder, or continue in that of the same comparison.

    Raises:
        UserError: Something given cannot be used, or every run failed.
        KeyboardInterrupt: It was stopped; the text says how to resume.
    """
    if out is not None and holds_comparison(out):
        run(request, out, jobs, fresh=False)
        return
    name = f"{request.command}-{Path(request.source).name}"
    run(request, open_folder(out, name, request.command), jobs, fresh=True)


def run(request: Request, folder: Path, jobs: int | None, *, fresh: bool) -> None:
    """Run the comparison or ablation in a folder and print the report.

    Args:
        fresh: Whether the folder was opened for this command, which may then remove it if training never began.

    Raises:
        UserError: Something given cannot be used, or every run failed.
        KeyboardInterrupt: It was stopped; the text says how to resume.
    """
    resume = f"understudy {request.command} --resume {shlex.quote(str(folder))}"
    if fresh:
        request.save(folder)
    try:
        console = open_console()
        from understudy.api.compare import ablate, compare
        from understudy.display.comparison_tables import print_report

        options = dict(request.options)
        arguments = {name: options.pop(name) for name in _ARGUMENTS[request.command] if name in options}
        if request.command == COMPARE and not arguments.get("variants"):
            arguments.setdefault("methods", "all")
        carry_out: Callable[..., ComparisonResult] = ablate if request.command == ABLATE else compare
        with watching(console, lambda: request.save(folder)) as watch:
            comparison = carry_out(
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
        raise UserError(f"{error}; to resume what is saved: {resume}") from None
    except (Interrupted, KeyboardInterrupt):
        if Request.of_run(folder) != request:  # a folder of an earlier request, which --resume would take
            raise KeyboardInterrupt("interrupted before training began; repeat the command") from None
        raise KeyboardInterrupt(f"interrupted; everything is saved, resume with: {resume}") from None
    print_report(console, comparison)


def holds_comparison(folder: Path) -> bool:
    """Whether a comparison or ablation was begun in the folder, from the command line or from Python."""
    from understudy.core.errors import RunFolderError
    from understudy.core.files import read_json

    if (folder / REQUEST).exists():
        request = Request.of_run(folder)
        return request is not None and request.command in (COMPARE, ABLATE)
    try:
        return bool(read_json(folder / "identity.json").get("kind") == "comparison")
    except (RunFolderError, NotADirectoryError):
        return False
