"""`understudy predict`: the predictions of a trained classifier for new images, as a table."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from understudy.cli import options

if TYPE_CHECKING:
    from rich.table import Table

    from understudy.serving.predictor import Predictions

_BAR_WIDTH = 30  # characters; beside a class name and a count it fits a line of 80
_MAX_LINES = 20  # classes, or unreadable files; the rest is counted, so that the output stays on one screen


def predict(
    run: options.RunFolder,
    images: options.AnyImages,
    test_time_averaging: options.TestTimeAveraging = None,
    network: options.NetworkCode = None,
    cache: options.Cache = None,
    out: options.PredictionsFile = Path("predictions.csv"),
    overwrite: options.Overwrite = False,
) -> None:
    """Predict the class and all class probabilities of new images, and write them to a table.

    One row per image: file, label, confidence, and one column of probabilities per class. Unreadable files are skipped
    and listed.

    [bold]Example:[/bold]
      understudy predict runs/photos-20260131-120000 new-photos --out new.parquet
    """
    from understudy.core.outputs import check_output
    from understudy.core.text import agree, counted
    from understudy.display.console import open_console, say
    from understudy.display.progress import watching
    from understudy.serving.predictor import Predictor

    suffixes = (".csv", ".parquet")
    check_output(out, "a table of predictions", suffixes, option="--out", reads=[images], overwrite=overwrite)
    console = open_console()
    predictor = Predictor.load(run, network)
    with watching(console) as watch:
        found = predictor.predict(
            predictor.read(images, cache=cache, observe=watch.decoding),
            observe=watch.predicting,
            test_time_averaging=test_time_averaging,
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
            console, f"{len(found.quarantine):,} {'file' if len(found.quarantine) == 1 else 'files'} could not be read:"
        )
        for name, reason in found.quarantine[:_MAX_LINES]:
            say(console, f"  {name}: {reason}")
        if len(found.quarantine) > _MAX_LINES:
            say(console, f"  and {len(found.quarantine) - _MAX_LINES:,} more")


def _histogram(found: Predictions) -> Table:
    """The number of images predicted for each class, the most frequent first."""
    from collections import Counter

    from understudy.display.tables import new_table

    table = new_table()
    table.add_column("class", overflow="fold")
    table.add_column("images", justify="right")
    table.add_column("")
    counts = Counter(found.labels).most_common()
    for name, count in counts[:_MAX_LINES]:
        table.add_row(name, f"{count:,}", "#" * max(1, round(_BAR_WIDTH * count / counts[0][1])))
    if len(counts) > _MAX_LINES:
        rest = sum(count for _, count in counts[_MAX_LINES:])
        table.add_row(f"{len(counts) - _MAX_LINES:,} more", f"{rest:,}", "")
    return table
