"""Run a training request and print its result; shared by `train` and `demo`."""

from __future__ import annotations

import csv
import shlex
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING

from understudy.cli.request import TRAIN, Request, discard_unstarted
from understudy.display.console import open_console, say
from understudy.display.outcome import print_outcome, print_probes, print_rounds

if TYPE_CHECKING:
    from rich.console import Console

    from understudy.api.result import Result
    from understudy.core.budget import Cost

_FILES = {
    "model.safetensors": "the delivered classifier, with model.json",
    "result.json": "every figure: verdict, metrics, costs, history",
    "report.html": "the report: open it in a browser",
    "rounds.png": "accuracy, coverage and changed labels by round",
    "probes.png": "quality of the features during pretraining",
    "pictures": "images generated during training",
    "figures": "the same pictures as PNG and SVG",
    "predictions.csv": "its prediction for each held-out image",
    "mistakes.csv": "its most confident errors among them",
    "label_errors.csv": "likely label errors, found by a model that was not trained on those images",
    "plan.toml": "every choice with its reason, for use with --plan",
    "unrelated.png": "unlabeled images dropped as unrelated, listed in unrelated.csv",
    "config.toml": "all settings, for use with --config",
    "splits.json": "the split of each image: training, validation or test",
    "quarantine.json": "files that were skipped, with reasons; empty if none",
    "log.txt": "these messages, and every choice of the plan",
}


def run(
    request: Request,
    folder: Path,
    *,
    begun: Cost,
    fresh: bool,
    tensorboard: Path | None = None,
    verbose: bool = False,
) -> None:
    """Train in the folder and print the result.

    Args:
        begun: When the command began, from which its budget counts.
        verbose: Whether every choice of the plan is printed.
        tensorboard: Folder of a log for TensorBoard.
        fresh: Whether the folder was opened for this command, which may then remove it if training never began.

    Raises:
        UserError: Something given cannot be used.
        KeyboardInterrupt: Training was stopped; the text says how to resume.
    """
    from understudy.api.train import train_since
    from understudy.core.errors import Interrupted, UserError
    from understudy.display.progress import watching

    console = open_console()
    if not fresh and (folder / "result.json").exists():
        say(console, f"The run in {folder} is finished: nothing is trained, only the evaluation and report are redone.")
    resume = f"understudy {TRAIN} --resume {shlex.quote(str(folder))}"
    try:
        with watching(console) as watch:
            result = train_since(
                begun,
                request.source,
                unlabeled=request.unlabeled,
                test=request.test,
                validation=request.validation,
                cache=request.cache,
                folder=folder,
                tensorboard=tensorboard,
                config=request.options,
                plan=request.plan,
                verbose=int(verbose),
                watch=watch,
            )
    except UserError as error:
        if not fresh or discard_unstarted(folder):
            raise
        raise UserError(f"{error}; to resume what is saved: {resume}") from None
    except (Interrupted, KeyboardInterrupt):
        raise KeyboardInterrupt(f"interrupted; everything is saved, resume with: {resume}") from None
    print_result(console, result, request)


def print_result(console: Console, result: Result, request: Request) -> None:
    """Print the verdict, then both models side by side, the files, and the next commands."""
    assert result.folder is not None
    say(console)
    print_outcome(console, result)
    for name, trained in result.runs.items():
        if any("kept" in line for line in trained.rounds):
            print_probes(console, trained)
        if any("returned" in line for line in trained.rounds):
            print_rounds(console, name, trained)
    folder = shlex.quote(str(result.folder))
    say(console, f"Saved in {result.folder}:")
    for name, what in _FILES.items():
        if _holds_something(result.folder / name):
            say(console, f"  {name:<18} {what}")
    if result.repeats is not None:
        part = "repeat" if result.repeats.kind == "seeds" else "fold"
        numbers = result.repeats.numbers
        names = f"{part}-{numbers[0]}" + (f" to {part}-{numbers[-1]}" if len(numbers) > 1 else "")
        say(console, f"  {names:<18} the run folder of each {part}")
    images, test = ("digits", "digits") if request.source == "digits" else ("IMAGES", "TEST")
    say(console)
    say(console, "Next:")
    say(console, f"  understudy predict {folder} {images}")
    say(console, f"  understudy evaluate {folder} {test}")


def _holds_something(path: Path) -> bool:
    """Whether a file or folder is there, and, if it is a table, has a row below its header."""
    if path.suffix != ".csv" or not path.exists():
        return path.exists()
    with path.open(encoding="utf-8", newline="") as file:
        return len(list(islice(csv.reader(file), 2))) > 1
