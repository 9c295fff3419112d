"""Run a training request and print what came of it; shared by `train` and `demo`."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import TYPE_CHECKING

from understudy.cli.console import open_console, say
from understudy.cli.request import Request, discard_unstarted

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table

    from understudy.api import Result
    from understudy.engine.fit import Trained
    from understudy.evaluation.repeats import Repeats

_FILES = {
    "model.safetensors": "the delivered classifier, with model.json",
    "result.json": "every figure: verdict, metrics, costs, history",
    "report.html": "the report: open it in a browser",
    "rounds.png": "accuracy, coverage and changed labels by round",
    "probes.png": "how good the features were during pretraining",
    "pictures": "images that the method made, step by step",
    "figures": "the same pictures as PNG and SVG",
    "predictions.csv": "what it says of each held-out image",
    "mistakes.csv": "its most confident errors among them",
    "label_errors.csv": "images whose given label is doubted by a model that had not seen it",
    "plan.toml": "every choice with its reason, for use with --plan",
    "unrelated.png": "unlabeled images that looked unrelated and were left out, listed in unrelated.csv",
    "config.toml": "all settings, for use with --config",
    "splits.json": "which image was used for what",
    "quarantine.json": "files that could not be used, with reasons",
    "log.txt": "the sentences printed here",
}
_OUTCOME_STYLE = {"helped": "green", "hurt": "red"}


def run(request: Request, folder: Path, *, fresh: bool, tensorboard: Path | None = None) -> None:
    """Train in the folder and print the result.

    Args:
        tensorboard: Folder of a log for TensorBoard.
        fresh: Whether the folder was opened for this command, which may then remove it if training never began.

    Raises:
        UserError: Something given cannot be used.
        KeyboardInterrupt: Training was stopped; the text says how to go on.
    """
    from understudy.api import train
    from understudy.cli.progress import watching
    from understudy.core.errors import Interrupted, UserError

    console = open_console()
    resume = f"understudy train --resume {shlex.quote(str(folder))}"
    try:
        with watching(console) as watch:
            result = train(
                request.source,
                unlabeled=request.unlabeled,
                test=request.test,
                cache=request.cache,
                folder=folder,
                tensorboard=tensorboard,
                config=request.options,
                plan=request.plan,
                watch=watch,
            )
    except UserError as error:
        if not fresh or discard_unstarted(folder):
            raise
        raise UserError(f"{error}; to go on with what is saved: {resume}") from None
    except (Interrupted, KeyboardInterrupt):
        raise KeyboardInterrupt(f"interrupted; everything is saved, go on with: {resume}") from None
    print_result(console, result, request)


def print_result(console: Console, result: Result, request: Request) -> None:
    """The verdict first, then the two models side by side, the files, and what to type next."""
    assert result.folder is not None
    say(console)
    _print_verdict(console, result)
    if result.repeats is not None:
        console.print(_repeats(result.repeats))
        say(console)
    elif result.run_metrics:
        console.print(_comparison(result))
        say(console)
    for name, trained in result.runs.items():
        if any("returned" in line for line in trained.rounds):
            _print_rounds(console, name, trained)
        if any("kept" in line for line in trained.rounds):
            _print_probes(console, trained)
    result.report(result.folder / "report.html")
    folder = shlex.quote(str(result.folder))
    say(console, f"Saved in {result.folder}:")
    for name, what in _FILES.items():
        if (result.folder / name).exists():
            say(console, f"  {name:<18} {what}")
    if result.repeats is not None:
        one = "repeat" if result.repeats.kind == "seeds" else "fold"
        numbers = result.repeats.numbers
        names = f"{one}-{numbers[0]}" + (f" to {one}-{numbers[-1]}" if len(numbers) > 1 else "")
        say(console, f"  {names:<18} the run of each {one}, a run folder too")
    images = "IMAGES" if request.source != "digits" else "digits"
    say(console)
    say(console, "Next:")
    say(console, f"  understudy predict {folder} {images}")
    say(console, f"  understudy evaluate {folder} {images}")


def _print_verdict(console: Console, result: Result) -> None:
    from rich.panel import Panel
    from rich.text import Text

    if result.repeats is not None:
        sentences: tuple[str, ...] = result.repeats.sentences
        style = _OUTCOME_STYLE.get(result.repeats.outcome or "", "yellow")
    elif result.verdict is None:
        sentences = ("No verdict: only the labels were trained on, so there is nothing to compare.",)
        style = "yellow"
    else:
        sentences = result.verdict.sentences()
        style = _OUTCOME_STYLE.get(result.verdict.outcome, "yellow")
    if not console.is_terminal:
        for line in ("VERDICT", *sentences, ""):
            say(console, line)
        return
    text = Text(sentences[0], style="bold")
    for sentence in sentences[1:]:
        text.append(f"\n{sentence}", style="not bold")
    console.print(Panel(text, title="Verdict", title_align="left", border_style=style, padding=(1, 2)))


def _print_rounds(console: Console, name: str, trained: Trained) -> None:
    """What each round, or other part of a recipe, labeled and reached, which is returned, and why there are no more."""
    from understudy.cli.tables import new_table, percent

    columns = {
        "labeled": "coverage",
        "labels right": "pseudo_label_accuracy",
        "changed": "labels_changed",
        "validation": "validation_accuracy",
        "corrupted": "corrupted_accuracy",
    }
    shown = {title: key for title, key in columns.items() if any(line.get(key) is not None for line in trained.rounds)}
    table = new_table()
    table.add_column(f"{'round' if 'teacher' in (line['name'] for line in trained.rounds) else 'part'} of {name}")
    for title in ("steps", *shown):
        table.add_column(title, justify="right")
    for line in trained.rounds:
        label = f"{line['name']} (returned)" if line["returned"] else line["name"]
        table.add_row(label, f"{line['steps']:,}", *(percent(line.get(key)) for key in shown.values()))
    console.print(table)
    say(console)
    for line in trained.rounds:
        if line.get("note"):
            say(console, f"{line['name'].capitalize()}: {line['note']}.")
    if trained.stopped and trained.stopped not in (line.get("note") for line in trained.rounds):
        say(console, f"{trained.stopped[0].upper()}{trained.stopped[1:]}.")
    say(console)


def _print_probes(console: Console, trained: Trained) -> None:
    """How well the features told labeled images apart during pretraining, and which were kept."""
    from understudy.cli.tables import new_table, percent

    table = new_table()
    for title in ("pretraining", "step", "kNN", "linear"):
        table.add_column(title, justify="right")
    for line in trained.rounds:
        label = f"{100 * line['progress']:.0f} %" + (" (kept)" if line["kept"] else "")
        probes = (percent(line.get(name)) for name in ("knn_accuracy", "linear_accuracy"))
        table.add_row(label, f"{line['step']:,}", *probes)
    console.print(table)
    say(console)


def _repeats(found: Repeats) -> Table:
    """A line per seed or fold, then the mean of all and its interval."""
    from understudy.cli.tables import interval, new_table, percent

    names = list(found.accuracies)
    table = new_table()
    for name in (found.kind.removesuffix("s"), "images", *names, *(["difference"] if found.method else [])):
        table.add_column(name, justify="right")
    for at, number in enumerate(found.numbers):
        cells = [percent(found.accuracies[name][at]) for name in names]
        if found.method:
            cells.append(f"{100 * found.differences[at]:+.1f}")
        table.add_row(str(number), f"{found.n[at]:,}", *cells)
    table.add_section()
    whole = "mean" if found.kind == "seeds" else "all"
    means = [percent(found.spreads[name].mean) for name in names]
    if found.difference is not None:
        means.append(f"{100 * found.difference:+.1f}")
    table.add_row(whole, "" if found.kind == "seeds" else f"{sum(found.n):,}", *means)
    known = [found.spreads[name].interval for name in names]
    if any(known):
        cells = ["-" if one is None else interval(one) for one in known]
        if found.method:
            gain = found.interval
            cells.append("-" if gain is None else f"{100 * gain.low:+.1f} to {100 * gain.high:+.1f}")
        table.add_row("95 % interval", "", *cells)
    return table


def _comparison(result: Result) -> Table:
    from understudy.cli.tables import interval, new_table, percent

    on_device = result.verdict is not None and result.verdict.cost_clock == "wall_s"
    delivered = "supervised"
    if result.verdict is not None and result.verdict.delivered == "method":
        delivered = result.verdict.method.name
    table = new_table()
    table.add_column("model")
    for name in ("accuracy", "95 % interval", "balanced", "device s" if on_device else "CPU-s", "steps"):
        table.add_column(name, justify="right")
    for name, trained in result.runs.items():
        metrics = result.run_metrics[name]
        table.add_row(
            f"{name} (delivered)" if name == delivered else name,
            percent(metrics.accuracy),
            interval(metrics.accuracy_interval),
            percent(metrics.balanced_accuracy),
            f"{trained.cost.wall_s if on_device else trained.cost.cpu_s:,.1f}",
            f"{trained.steps:,}",
        )
    return table
