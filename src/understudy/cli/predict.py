"""`understudy predict`: a table of what a trained classifier says of new images."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from rich.table import Table

    from understudy.serving.predictor import Predictions

_BAR_WIDTH = 30
_MOST_LINES = 20


def predict(
    run: Annotated[Path, typer.Argument(metavar="RUN", help="Folder of a finished run.", show_default=False)],
    images: Annotated[
        str,
        typer.Argument(
            metavar="IMAGES", help="A folder of images, one image, a manifest or a data set's name.", show_default=False
        ),
    ],
    out: Annotated[
        Path, typer.Option(metavar="FILE", help="A .csv or .parquet file, replaced if there.", rich_help_panel="Output")
    ] = Path("predictions.csv"),
    test_time_averaging: Annotated[
        bool,
        typer.Option(
            "--test-time-averaging",
            help="Average over shifts and mirrors of an image, even if the run did not: slower, often a little better.",
            rich_help_panel="Method",
        ),
    ] = False,
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
    """Write the class and all class probabilities of new images to a table.

    One row per image: file, label, confidence, and a column of probabilities per class. Files that cannot be read are
    skipped and named.

    [bold]Example:[/bold]
      understudy predict runs/photos-20260131-120000 new-photos --out new.parquet
    """
    from understudy.core.outputs import check_output
    from understudy.core.text import agree, counted
    from understudy.display.console import open_console, say
    from understudy.display.progress import watching
    from understudy.serving.predictor import Predictor

    check_output(out, "a table of predictions", (".csv", ".parquet"), option="--out", reads=[images])
    console = open_console()
    predictor = Predictor.load(run, network)
    with watching(console) as watch:
        found = predictor.predict(
            predictor.read(images, cache=cache, observe=watch.decoding),
            observe=watch.predicting,
            test_time_averaging=test_time_averaging or None,
        )
    found.save(out)
    say(console)
    say(console, f"{counted(len(found.names), 'image')} {agree(len(found.names), 'is', 'are')} in {out}.")
    if len(found.names):
        say(console, f"Mean confidence {100 * float(found.probabilities.max(-1).mean()):.1f} %.")
        say(console)
        console.print(_histogram(found))
    if found.quarantine:
        say(console)
        say(
            console, f"{len(found.quarantine):,} {'file' if len(found.quarantine) == 1 else 'files'} could not be used:"
        )
        for name, reason in found.quarantine[:_MOST_LINES]:
            say(console, f"  {name}: {reason}")
        if len(found.quarantine) > _MOST_LINES:
            say(console, f"  and {len(found.quarantine) - _MOST_LINES:,} more")


def _histogram(found: Predictions) -> Table:
    """How many images were given each class, the most frequent first."""
    from collections import Counter

    from understudy.display.tables import new_table

    table = new_table()
    table.add_column("class", overflow="fold")
    table.add_column("images", justify="right")
    table.add_column("")
    counts = Counter(found.labels).most_common()
    for name, count in counts[:_MOST_LINES]:
        table.add_row(name, f"{count:,}", "#" * max(1, round(_BAR_WIDTH * count / counts[0][1])))
    if len(counts) > _MOST_LINES:
        rest = sum(count for _, count in counts[_MOST_LINES:])
        table.add_row(f"{len(counts) - _MOST_LINES:,} more", f"{rest:,}", "")
    return table
