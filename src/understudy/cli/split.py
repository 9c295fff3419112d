"""`understudy split`: a manifest that says which images are for training, validation and testing."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import TYPE_CHECKING

from understudy.cli import options

if TYPE_CHECKING:
    from rich.console import Console

    from understudy.api.split import Division


def split(
    photos: options.PhotosOnDisk,
    validation: options.ValidationShare = None,
    test: options.TestShare = None,
    seed: options.Seed = 0,
    cache: options.Cache = None,
    out: options.SplitFile = Path("split.csv"),
    overwrite: options.Overwrite = False,
) -> None:
    """Split labeled images into training, validation and test images, and write the split to a manifest.

    Every class is split by the same shares. Images of one group (column `group` of a manifest) and copies of one image
    stay together. The same seed gives the same split. No image is copied or changed. Validation and test images that
    PHOTOS names keep their role.

    [bold]Examples:[/bold]
      understudy split photos --out split.csv
      understudy split photos --validation 0 --test 0.3 --seed 1 --out split.csv
    """
    from understudy.api.split import check_manifest_name, check_shares
    from understudy.api.split import split as divided
    from understudy.display.console import open_console, say
    from understudy.display.progress import watching
    from understudy.inspection.cleaning import Origin

    check_shares(validation, test)
    check_manifest_name(out, overwrite=overwrite)
    Origin(photos).folders()  # a manifest lists files, which a data set does not have
    console = open_console()
    with watching(console) as watch:
        division = divided(photos, validation=validation, test=test, seed=seed, cache=cache, decoding=watch.decoding)
    division.save(out)
    say(console)
    say(console, f"{out} lists {division.summary()}.")
    _print_classes(console, division)
    for note in division.notes:
        say(console, note)
    say(console)
    say(console, f"Next: understudy train {shlex.quote(str(out))}")


def _print_classes(console: Console, division: Division) -> None:
    """Print the number of images of each class in each split."""
    from understudy.display.tables import new_table

    counts = division.per_class()
    table = new_table()
    table.add_column("class", overflow="fold")
    for name in counts:
        table.add_column(name, justify="right")
    for label in division.collection.classes:
        table.add_row(label, *(f"{by_class[label]:,}" for by_class in counts.values()))
    console.print(table)
