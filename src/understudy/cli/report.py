"""`understudy report`: one HTML file of a training run, a comparison, or several runs side by side."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def report(
    folders: Annotated[
        list[Path],
        typer.Argument(metavar="RUN...", help="Folders of training runs, or of one comparison.", show_default=False),
    ],
    out: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE.html",
            help="Where to write it (default: report.html in the folder).",
            rich_help_panel="Output",
        ),
    ] = None,
    opened: Annotated[
        bool, typer.Option("--open", help="Show it in the web browser.", rich_help_panel="Output")
    ] = False,
) -> None:
    """Write the report: did the unlabeled images help, how sure is that, where does the model fail, what to do next.

    One HTML file that can be mailed, printed and read offline; it loads nothing and runs no script. The same figures
    lie beside it as PNG and SVG. A run that has not finished is reported as far as it got.

    [bold]Examples:[/bold]
      understudy report runs/photos-20260131-120000 --open
      understudy report runs/one runs/two --out both.html
    """
    from understudy.display.console import open_console, say
    from understudy.reports.write import write_report

    console = open_console()
    path = write_report(folders, out)
    say(console, f"Report: {path}")
    if opened:
        import webbrowser

        if not webbrowser.open(path.resolve().as_uri()):
            say(console, "No web browser could be started; open the file by hand.")
