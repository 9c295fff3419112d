"""`understudy suggest`: which images to label first, and which next."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import Annotated

import typer


def suggest(
    unlabeled: Annotated[
        str,
        typer.Argument(metavar="DIR", help="Images to label: a folder, or a manifest of them.", show_default=False),
    ],
    count: Annotated[int, typer.Option(metavar="N", help="How many images to label.", rich_help_panel="Method")] = 100,
    run: Annotated[
        Path | None,
        typer.Option(
            metavar="RUN",
            help="Folder of a finished run: what its classifier is unsure of counts most.",
            rich_help_panel="Method",
        ),
    ] = None,
    labeled: Annotated[
        str | None,
        typer.Option(
            "--classes-so-far",
            metavar="PHOTOS",
            help="Images that are labeled already; what looks the same as one of them is not suggested.",
            rich_help_panel="Method",
        ),
    ] = None,
    seed: Annotated[
        int, typer.Option(metavar="N", help="Number that all randomness derives from.", rich_help_panel="Method")
    ] = 0,
    out: Annotated[
        Path,
        typer.Option(
            metavar="FILE.csv",
            help="The table to fill in, replaced if no label is in it (default: suggested.csv).",
            rich_help_panel="Output",
            show_default=False,
        ),
    ] = Path("suggested.csv"),
    sheet: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE.html",
            help="The images with numbers and names, to look at (default: beside the table).",
            rich_help_panel="Output",
        ),
    ] = None,
    network: Annotated[
        str | None,
        typer.Option(
            metavar="CODE",
            help="For a run of your own network: file.py:factory or package.module:factory, which is run.",
            rich_help_panel="Method",
        ),
    ] = None,
    cache: Annotated[
        Path | None,
        typer.Option(metavar="FOLDER", help="Where decoded images are kept for later.", rich_help_panel="Machine"),
    ] = None,
) -> None:
    """Select the unlabeled images that are most worth labeling, and write a table to fill in and a sheet to look at.

    Without a run: typical images, spread over all images. With one: images like many others that its classifier is
    unsure of. Fill in the column `label`; rows left empty stay unlabeled.

    [bold]Examples:[/bold]
      understudy suggest unlabeled --count 100
      understudy suggest unlabeled --count 100 --run runs/photos-20260131-120000 --classes-so-far suggested.csv
    """
    from understudy.api.suggest import check_table_name
    from understudy.api.suggest import suggest as choose
    from understudy.core.arguments import check
    from understudy.core.errors import UserError
    from understudy.core.text import agree, counted
    from understudy.display.console import open_console, say
    from understudy.display.progress import watching
    from understudy.reports.write import check_page_name
    from understudy.serving.labels import files_of

    page = out.with_suffix(".html") if sheet is None else sheet
    check(count=count)
    if labeled is not None and out.exists() and Path(labeled).exists() and out.samefile(labeled):
        raise UserError(f"{out} holds the labels so far and would be replaced; give another file with --out")
    check_table_name(out, reads=[unlabeled])
    check_page_name(page, "--sheet")
    files_of(unlabeled, ())
    console = open_console()
    with watching(console) as watch:
        found = choose(
            unlabeled, count=count, run=run, network=network, labeled=labeled, seed=seed, cache=cache,
            decoding=watch.decoding, observe=watch.working,
        )  # fmt: skip
    found.save(out)
    found.sheet(page)
    say(console)
    number = len(found.names)
    what = f"{counted(number, 'image')} to label {agree(number, 'is', 'are')}"
    say(console, f"{what} listed in {out} and shown in {page}. {found.why}")
    for note in found.notes:
        say(console, note)
    say(console)
    say(console, f"Next: look at {page}, fill in the column label of {out}, then")
    say(console, f"  {shlex.join(['understudy', 'train', str(out), '--unlabeled', str(unlabeled)])}")
