"""`understudy evaluate`: the metrics of a trained classifier on labeled images."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def evaluate(
    run: Annotated[Path, typer.Argument(metavar="RUN", help="Folder of a finished run.", show_default=False)],
    images: Annotated[
        str,
        typer.Argument(
            metavar="IMAGES",
            help="Labeled images: a folder per class, a manifest or a data set's name.",
            show_default=False,
        ),
    ],
    json: Annotated[
        Path | None,
        typer.Option("--json", metavar="FILE", help="Also write all figures there.", rich_help_panel="Output"),
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
    """Measure a trained classifier on labeled images that it was not trained on.

    Prints accuracy and balanced accuracy with intervals, precision, recall and F1 of each class, and, up to 20
    classes, which classes are taken for which.

    [bold]Example:[/bold]
      understudy evaluate runs/photos-20260131-120000 test --json figures.json
    """
    from understudy.api.train import evaluate as measure
    from understudy.core.files import write_json
    from understudy.core.outputs import check_json
    from understudy.core.text import counted
    from understudy.display import tables
    from understudy.display.console import open_console, say
    from understudy.display.progress import watching

    if json is not None:
        check_json(json)
    console = open_console()
    with watching(console) as watch:
        metrics = measure(run, images, network=network, cache=cache, watch=watch)
    say(console, f"{counted(metrics.n, 'image')}, {len(metrics.per_class)} classes")
    for line in tables.summary_lines(metrics):
        say(console, line)
    if note := metrics.guessing_note():
        say(console, note)
    say(console)
    console.print(tables.class_table(metrics))
    if len(metrics.per_class) <= tables.MOST_CLASSES_IN_MATRIX:
        say(console)
        say(console, "How many images of each class (row) were taken for which (column):")
        matrix = tables.confusion_table(metrics)
        widest = console.measure(matrix).maximum
        console.print(matrix, width=max(console.width, widest), crop=False)  # a cut number would be a wrong one
    if json is not None:
        write_json(json, metrics.to_json())
        say(console)
        say(console, f"All figures are in {json}.")
