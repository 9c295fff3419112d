"""`understudy split`: which images train, validate and test, written down as a manifest."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray
    from rich.console import Console

    from understudy.data.collection import Collection

# The usual shares: a fifth tests, as where `train` holds images out by itself, and half as many select.
_TEST, _VALIDATION = 0.2, 0.1
_PARTS = ("train", "validation", "test", "unlabeled")


def split(
    source: Annotated[
        str,
        typer.Argument(
            metavar="SOURCE", help="Labeled images: a folder per class, or a manifest of them.", show_default=False
        ),
    ],
    out: Annotated[
        Path,
        typer.Option(metavar="FILE", help="A new .csv or .parquet file (default: split.csv).", show_default=False),
    ] = Path("split.csv"),
    validation: Annotated[
        float | None,
        typer.Option(metavar="SHARE", help=f"Share of each class that selects (default: {_VALIDATION}); 0 for none."),
    ] = None,
    test: Annotated[
        float | None,
        typer.Option(metavar="SHARE", help=f"Share of each class that tests (default: {_TEST}); 0 for none."),
    ] = None,
    seed: Annotated[int, typer.Option(metavar="N", min=0, help="Random seed.")] = 0,
    cache: Annotated[
        Path | None, typer.Option(metavar="FOLDER", help="Where decoded images are kept for later.")
    ] = None,
) -> None:
    """Divide labeled images into training, validation and test images, and write the division as a manifest.

    Every class is divided by the same shares. Images of one group (column `group` of a manifest) and copies of one
    picture stay together. The same seed gives the same division. No image is copied or changed. Validation and test
    images that SOURCE names already stay what they are.

    [bold]Examples:[/bold]
      understudy split photos --out split.csv
      understudy split photos --validation 0 --test 0.3 --seed 1 --out split.csv
    """
    from understudy.core.errors import UserError
    from understudy.core.outputs import check_output
    from understudy.core.text import agree, counted
    from understudy.data.collection import Part
    from understudy.data.dividing import divide
    from understudy.data.load import load
    from understudy.display.console import open_console, say
    from understudy.display.progress import watching
    from understudy.inspection.cleaning import Origin, manifest_columns, write_table

    _check_shares(validation, test)
    check_output(out, "a manifest", (".csv", ".parquet"), option="--out")
    if out.exists():
        raise UserError(f"{out} is there and would be replaced; give another name with --out")
    origin = Origin(source)
    origin.folders()
    console = open_console()
    with watching(console) as watch:
        collection = load(source, cache=cache, observe=watch.decoding)
    shares = {Part.VALIDATION: validation, Part.TEST: test}
    notes = [*collection.notes]
    for part, default in ((Part.VALIDATION, _VALIDATION), (Part.TEST, _TEST)):
        name = part.name.lower()
        if not (collection.parts == part).any():
            shares[part] = default if shares[part] is None else shares[part]
        elif shares[part]:
            raise UserError(f"{source} holds {name} images of its own; leave out --{name}, or take them out of it")
        else:
            shares[part] = 0.0
            notes.append(f"the {name} images of {source} stay what they are")
    parts, said = divide(collection, {part: share or 0.0 for part, share in shares.items()}, seed)
    import numpy as np

    rows = np.flatnonzero(parts != Part.LEFT_OUT)
    splits = _names_of(collection, parts)
    write_table(manifest_columns(collection, rows, [str(splits[row]) for row in rows], origin, out), out)
    _print(console, collection, splits, out)
    for note in (*notes, *said):
        say(console, f"{note[0].upper()}{note[1:]}.")
    if collection.quarantine:
        number = len(collection.quarantine)
        are = agree(number, "is", "are")
        say(console, f"{counted(number, 'file')} could not be read and {are} not listed.")
    say(console)
    say(console, f"Next: understudy train {shlex.quote(str(out))}")


def _check_shares(validation: float | None, test: float | None) -> None:
    """Nothing, when the shares leave images to train on and take some.

    Raises:
        UserError: They do not.
    """
    from understudy.core.errors import UserError

    for name, share in (("validation", validation), ("test", test)):
        if share is not None and not 0 <= share < 1:
            raise UserError(f"--{name} is {share:g}; give a share from 0 to 1, such as 0.2")
    given = (_VALIDATION if validation is None else validation, _TEST if test is None else test)
    if sum(given) >= 1:
        raise UserError(
            f"--validation {given[0]:g} and --test {given[1]:g} leave no image to train on; give shares whose sum is "
            "under 1"
        )
    if sum(given) == 0:
        raise UserError("--validation and --test are both 0, so there is nothing to split; give one of them a share")


def _names_of(collection: Collection, parts: NDArray[np.uint8]) -> NDArray[np.object_]:
    """What the column `split` says of each row."""
    import numpy as np

    from understudy.data.collection import Part

    names = {Part.TRAIN: "train", Part.PSEUDO: "train", Part.VALIDATION: "validation", Part.TEST: "test"}
    found = np.array([names.get(Part(part), "") for part in parts], dtype=object)
    found[(parts == Part.TRAIN) & (collection.labels < 0)] = "unlabeled"
    return found


def _print(console: Console, collection: Collection, splits: NDArray[np.object_], out: Path) -> None:
    """How many images of each class are in each part."""
    from understudy.core.text import counted
    from understudy.display.console import say
    from understudy.display.tables import new_table

    counts = {part: int((splits == part).sum()) for part in _PARTS}
    listed = ", ".join(f"{count:,} {part}" for part, count in counts.items() if count)
    say(console)
    say(console, f"{out} lists {counted(sum(counts.values()), 'image')}: {listed}.")
    table = new_table()
    table.add_column("class", overflow="fold")
    shown = [part for part in _PARTS[:3] if counts[part]]
    for part in shown:
        table.add_column(part, justify="right")
    for code, name in enumerate(collection.classes):
        own = splits[collection.labels == code]
        table.add_row(name, *(f"{int((own == part).sum()):,}" for part in shown))
    console.print(table)
