"""`understudy label`: a table of automatic labels, to train on elsewhere."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import Annotated

import typer


def label(
    run: Annotated[Path, typer.Argument(metavar="RUN", help="Folder of a finished run.", show_default=False)],
    images: Annotated[
        str,
        typer.Argument(metavar="DIR", help="A folder of images, or a manifest of them.", show_default=False),
    ],
    out: Annotated[
        Path,
        typer.Option(
            metavar="FILE",
            help="A .csv or .parquet file, replaced if there (default: labels.csv).",
            rich_help_panel="Output",
            show_default=False,
        ),
    ] = Path("labels.csv"),
    threshold: Annotated[
        float,
        typer.Option(help="Least confidence of a label that is kept, from 0 to 1.", rich_help_panel="Method"),
    ] = 0.9,
    per_class: Annotated[
        int,
        typer.Option(
            metavar="N",
            help="Keep at most so many images of each class, the most confident; 0 keeps all.",
            rich_help_panel="Method",
        ),
    ] = 0,
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
    """Label unlabeled images with a trained classifier, where it is confident, and write a manifest of them.

    One row per labeled image: path, label, confidence, weight (0 at chance, 1 at certainty), split, and source (model).
    `understudy train`, `understudy.load` and your own training loop read it.

    [bold]Example:[/bold]
      understudy label runs/photos-20260131-120000 unlabeled --out labels.csv --threshold 0.95
    """
    from collections import Counter

    from understudy.core.text import agree, counted
    from understudy.display.console import open_console, say
    from understudy.display.progress import watching
    from understudy.display.tables import new_table
    from understudy.serving.labels import check_choice, check_table_name, files_of, select_labels
    from understudy.serving.predictor import Predictor

    check_table_name(out, reads=[images])
    check_choice(threshold, per_class)
    files_of(images, ())
    console = open_console()
    predictor = Predictor.load(run, network)
    with watching(console) as watch:
        collection = predictor.read(images, cache=cache, observe=watch.decoding)
        found = predictor.predict(collection, observe=watch.predicting)
    labels = select_labels(
        files_of(images, found.names), found.classes, found.probabilities,
        threshold=threshold, per_class=per_class,
    )  # fmt: skip
    labels.save(out)
    say(console)
    asked = f"{counted(labels.num_asked, 'image')} {agree(len(labels.files), 'is', 'are')}"
    say(console, f"{len(labels.files):,} of {asked} labeled in {out}.")
    counts = Counter(labels.label)
    table = new_table()
    table.add_column("class", overflow="fold")
    table.add_column("labeled", justify="right")
    for name in found.classes:
        table.add_row(name, f"{counts[name]:,}")
    console.print(table)
    if found.quarantine:
        say(console)
        count, (name, reason) = len(found.quarantine), found.quarantine[0]
        skipped = f"{count:,} files could not be used, such as" if count > 1 else "1 file could not be used:"
        say(console, f"{skipped} {name} ({reason}).")
    say(console)
    say(console, "These labels come from a model: they train, and never validate or test.")
    test = _test_of(run)
    say(console, "Next:" if test else "Next, with TEST a folder of images that people labeled:")
    say(console, f"  understudy train {shlex.quote(str(out))} --test {shlex.quote(test or 'TEST')}")


def _test_of(run: Path) -> str | None:
    """The test images that the run's command line named.

    Not the images it was trained on: the labels come from a model that has seen theirs.
    """
    from understudy.cli.request import FILE, Request

    return Request.load(run).test if (run / FILE).exists() else None
