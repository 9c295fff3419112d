"""`understudy label`: automatic labels of unlabeled images, as a manifest to train on."""

from __future__ import annotations

import shlex
from pathlib import Path

from understudy.cli import options


def label(
    run: options.RunFolder,
    images: options.UnlabeledImages,
    threshold: options.Threshold = 0.9,
    per_class: options.PerClass = 0,
    network: options.NetworkCode = None,
    cache: options.Cache = None,
    out: options.LabelsFile = Path("labels.csv"),
    overwrite: options.Overwrite = False,
) -> None:
    """Label the images that a trained classifier is confident about, and write them to a manifest.

    One row per labeled image: path, label, confidence, weight (0 at chance level, 1 at certainty), split, and source
    (model). `understudy train` and `understudy.load` read it, and so can your own training loop.

    [bold]Example:[/bold]
      understudy label runs/photos-20260131-120000 unlabeled --out labels.csv --threshold 0.95
    """
    from collections import Counter

    from understudy.core.text import agree, counted
    from understudy.display.console import open_console, say
    from understudy.display.progress import watching
    from understudy.display.tables import new_table
    from understudy.serving.label_table import check_choice, check_table_name, files_of, select_labels
    from understudy.serving.predictor import Predictor

    check_table_name(out, reads=[images], overwrite=overwrite)
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
        skipped = f"{count:,} files could not be read, such as" if count > 1 else "1 file could not be read:"
        say(console, f"{skipped} {name} ({reason}).")
    say(console)
    say(console, "These labels come from a model: they are used for training, never for validation or test.")
    test = _test_of(run)
    say(console, "Next:" if test else "Next, where TEST is a folder of images labeled by people:")
    say(console, f"  understudy train {shlex.quote(str(out))} --test {shlex.quote(test or 'TEST')}")


def _test_of(run: Path) -> str | None:
    """The test images that the run's command line named.

    Never the images it was trained on: the new labels come from a model that has seen theirs.
    """
    from understudy.cli.request import Request

    request = Request.of_run(run)
    return None if request is None else request.test
