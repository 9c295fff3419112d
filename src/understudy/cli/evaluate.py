"""`understudy evaluate`: the metrics of a trained classifier on labeled images."""

from __future__ import annotations

from understudy.cli import options


def evaluate(
    run: options.RunFolder,
    test: options.TestImages,
    network: options.NetworkCode = None,
    cache: options.Cache = None,
    json: options.Json = None,
) -> None:
    """Evaluate a trained classifier on labeled images that it was not trained on.

    Prints accuracy and balanced accuracy with confidence intervals, precision, recall and F1 of each class, and, for up
    to 20 classes, the confusion matrix.

    [bold]Example:[/bold]
      understudy evaluate runs/photos-20260131-120000 test --json metrics.json
    """
    from understudy.api.evaluate import evaluate as measure
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
        metrics = measure(run, test, network=network, cache=cache, watch=watch)
    say(console, f"{counted(metrics.n, 'image')}, {len(metrics.per_class)} classes")
    for line in tables.summary_lines(metrics):
        say(console, line)
    if note := metrics.guessing_note():
        say(console, note)
    say(console)
    console.print(tables.class_table(metrics))
    if len(metrics.per_class) <= tables.MAX_CLASSES_IN_MATRIX:
        say(console)
        say(console, "Confusion matrix: true class by row, predicted class by column:")
        matrix = tables.confusion_table(metrics)
        widest = console.measure(matrix).maximum
        console.print(matrix, width=max(console.width, widest), crop=False)  # a number cut short would be wrong
    if json is not None:
        write_json(json, metrics.to_json())
        say(console)
        say(console, f"All metrics are in {json}.")
