"""Runs of a second that kills and damages are tried on, each with everything of its result that no clock decides."""

from __future__ import annotations

import csv
import hashlib
import json
import os
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from understudy.api.evaluate import evaluate
from understudy.api.result import Result
from understudy.api.train import train
from understudy.comparison import single_run as one_run
from understudy.comparison.compare import compare
from understudy.core.errors import Interrupted
from understudy.core.files import load_arrays, read_json
from understudy.core.stopping import signals_interrupt
from understudy.engine import execution, rundir, snapshots
from understudy.engine import fit as fit_module
from understudy.reports import record

INTERRUPTED = -1  # what `run_until` returns in place of a number of moments
_CLOCKED = {"cpu_s", "wall_s", "cost", "spent", "environment", "checksum", "seconds", "log", "granted"}
_OPTIONS: dict[str, Any] = {
    "network": "cnn",
    "batch_size": 6,
    "seed": 1,
    "num_labels": 12,
    "num_evaluations": 5,
}


def _fixed_layout(state: object, base: Any, **options: object) -> Any:
    return base


def images(count: int = 90, first: int = 0) -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
    """Gray images of three noisy patterns, and their classes."""
    labels = np.arange(first, first + count) % 3
    patterns = np.random.default_rng(0).integers(0, 256, (3, 12, 12))
    noise = np.random.default_rng(first + 1).normal(0, 90, (count, 12, 12))
    return (patterns[labels] + noise).clip(0, 255).astype(np.uint8), labels


def _plain(folder: Path) -> None:
    train(
        images(), test=images(30, 1000), folder=folder, plan=False, budget="24steps", warmup=0.2,
        method={"name": "fixmatch", "mu": 2, "threshold": 0.4, "ema_decay": 0.5}, **_OPTIONS,
    )  # fmt: skip


def _planned(folder: Path) -> None:
    train(images(), folder=folder, budget="16steps", method={"name": "softmatch", "mu": 2}, **_OPTIONS)


def _rounds(folder: Path) -> None:
    recipe = {"name": "self_training", "num_rounds": 3, "threshold": 0.4, "min_changed": 0.0, "gate": 1.0}
    train(
        images(), test=images(30, 1000), folder=folder, plan=False, budget="45steps", recipe=recipe,
        method="supervised", **_OPTIONS,
    )  # fmt: skip


def _repeats(folder: Path) -> None:
    train(
        images(), test=images(30, 1000), folder=folder, plan=False, budget="12steps", repeats=2,
        method={"name": "pseudo_label", "mu": 2, "threshold": 0.4}, **_OPTIONS,
    )  # fmt: skip


def _compared(folder: Path) -> None:
    compare(
        images(), test=images(30, 1000), folder=folder, jobs=1, methods=["fixmatch"], seeds=2, num_labels=12,
        budget="12steps", network="cnn", batch_size=6, warmup=0.25,
        method={"mu": 2, "threshold": 0.4, "ema_decay": 0.5},
    )  # fmt: skip


def _folder(folder: Path) -> None:
    train(
        _photos(folder.parent), cache=folder.parent / "cache", folder=folder, plan=False, budget="16steps",
        method={"name": "fixmatch", "mu": 2, "threshold": 0.4}, **_OPTIONS,
    )  # fmt: skip


def _photos(folder: Path) -> Path:
    """A folder per class of small image files, one of which is damaged."""
    found = folder / "photos"
    if not found.exists():
        made = folder / f"photos-{os.getpid()}"
        for position, (pixels, label) in enumerate(zip(*images(), strict=True)):
            path = made / f"class {label}" / f"{position}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(pixels).save(path)
        (made / "class 0" / "damaged.png").write_bytes(path.read_bytes()[:40])
        os.rename(made, found)  # a signal may come at any moment
    return found


KINDS: dict[str, Callable[[Path], None]] = {
    "plain": _plain,
    "folder": _folder,
    "planned": _planned,
    "rounds": _rounds,
    "repeats": _repeats,
    "compare": _compared,
}


def _stay_in_memory(descriptor: int) -> None:
    """Nothing: a killed process, unlike a machine that loses power, leaves all it wrote; and a disk is slow."""


def _no_report(result: Result, path: Path) -> Path:
    """No page: it takes ten times as long as the run, and is made of what is saved and compared anyway."""
    return path


@contextmanager
def steady() -> Iterator[None]:
    """Decide nothing by timing inside the block, and write every good snapshot as a checkpoint."""

    def save(kept: snapshots.Snapshots) -> None:
        if kept.good is not kept._saved:
            kept.save()

    with (
        mock.patch.object(execution, "_fastest_on_processor", _fixed_layout),
        mock.patch.object(snapshots, "SNAPSHOT_STEPS", 5),
        mock.patch.object(snapshots.Snapshots, "save_when_due", save),
        mock.patch.object(one_run, "_PROGRESS_S", 0.0),
        mock.patch.object(Result, "report", _no_report),
    ):
        yield


@dataclass
class Events:
    """Counts moments at which a process may die, and kills it at one of them.

    Args:
        fatal: The number of the moment; None only counts.
        number: The signal that comes then.
    """

    fatal: int | None = None
    number: int = signal.SIGKILL
    seen: int = 0

    def __call__(self, function: Callable[..., Any]) -> Callable[..., Any]:
        """The function, before and after which there is such a moment."""

        def call(*args: Any, **kwargs: Any) -> Any:
            self.pass_one()
            found = function(*args, **kwargs)
            self.pass_one()
            return found

        return call

    def pass_one(self) -> None:
        """Count one moment."""
        if self.seen == self.fatal:
            os.kill(os.getpid(), self.number)
        self.seen += 1


def run_until(
    kind: str, folder: Path, fatal: int | None = None, number: int = signal.SIGKILL, after_s: float | None = None
) -> int:
    """Train a kind of run in a folder until it ends or dies, and count the moments at which it could have died.

    Args:
        fatal: The moment at which a signal comes.
        number: That signal.
        after_s: The seconds after which the signal comes, wherever the run is then.

    Returns:
        The number of moments, or `INTERRUPTED` where the run stopped because of the signal.
    """
    events = Events(fatal, number)
    timer = threading.Timer(after_s or 0.0, os.kill, (os.getpid(), number))
    timer.daemon = True
    with (
        signals_interrupt(),
        steady(),
        mock.patch.object(os, "replace", events(os.replace)),
        mock.patch.object(os, "fsync", events(_stay_in_memory)),
        mock.patch.object(fit_module._Run, "run_step", events(fit_module._Run.run_step)),
        mock.patch.object(rundir.RunFolder, "drop_checkpoints", events(rundir.RunFolder.drop_checkpoints)),
    ):
        if after_s is not None:
            timer.start()
        try:
            KINDS[kind](folder)
        except (KeyboardInterrupt, Interrupted):
            return INTERRUPTED
        finally:
            timer.cancel()
    return events.seen


def outcome(folder: Path) -> dict[str, Any]:
    """Whatever a finished folder says that no clock decides: results, weights, predictions and pictures."""
    found: dict[str, Any] = {}
    for path in sorted(folder.rglob("*")):
        name = path.relative_to(folder).as_posix()
        if path.name in ("result.json", "comparison.json", "finished.json", "model.json", "rounds.json"):
            try:
                found[name] = _timeless(json.loads(path.read_text("utf-8")))
            except ValueError:
                found[name] = "damaged"
        elif path.suffix == ".safetensors":
            loaded = rundir.load_tensors(path)
            found[name] = (
                "damaged" if loaded is None else {key: _digest(part.numpy()) for key, part in loaded[0].items()}
            )
        elif path.suffix == ".npz":
            found[name] = _digests(load_arrays(path))
        elif path.suffix == ".csv":
            with path.open(newline="", encoding="utf-8") as file:
                found[name] = [_timeless(row) for row in csv.DictReader(file)]
        elif path.suffix == ".png" and path.parent.name != "figures":
            found[name] = hashlib.blake2b(path.read_bytes(), digest_size=8).hexdigest()
    return json.loads(json.dumps(found))  # type: ignore[no-any-return]


def uses(folder: Path) -> dict[str, Any]:
    """What the commands that take a finished folder say of it."""
    report = record.read(folder)
    metrics = {}
    if (folder / "model.json").exists():
        pixels, labels = images(30, 1000)
        names = read_json(folder / "model.json").get("classes", ("0", "1", "2"))
        metrics = evaluate(folder, (pixels, [names[label % len(names)] for label in labels])).to_json()
    held = {name: _digest(rows) for name, rows in getattr(report, "held_out", {}).items()}
    found = getattr(report, "result", None) or getattr(report, "found", {})
    return json.loads(json.dumps({"metrics": metrics, "held": held, "report": _timeless(found)}))  # type: ignore[no-any-return]


def difference(one: Any, other: Any, where: str = "") -> str:
    """The first place at which two plain values differ, or an empty text."""
    if isinstance(one, dict) and isinstance(other, dict):
        for key in sorted(one.keys() | other.keys()):
            if key not in one or key not in other:
                return f"{where}/{key} is there only once"
            if found := difference(one[key], other[key], f"{where}/{key}"):
                return found
        return ""
    if isinstance(one, list) and isinstance(other, list) and len(one) == len(other):
        pairs = enumerate(zip(one, other, strict=True))
        return next((found for at, pair in pairs if (found := difference(*pair, f"{where}[{at}]"))), "")
    return "" if one == other or (one != one and other != other) else f"{where}: {str(one)[:80]} != {str(other)[:80]}"


def _timeless(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _timeless(part) for key, part in value.items() if not _is_clocked(key)}
    if isinstance(value, str) and ("cost" in value or "CPU" in value):  # what it says of time differs from run to run
        return "of costs"
    if isinstance(value, str) and " at a time" in value:  # how many runs an earlier process had finished
        return value.partition(" at a time")[0]
    return [_timeless(part) for part in value] if isinstance(value, list) else value


def _is_clocked(key: str) -> bool:
    return key in _CLOCKED or key.endswith(("_s", "per_s")) or key.startswith("cost")


def _digests(arrays: dict[str, NDArray[Any]] | None) -> Any:
    return "damaged" if arrays is None else {key: _digest(array) for key, array in arrays.items()}


def _digest(array: NDArray[Any]) -> str:
    return hashlib.blake2b(np.ascontiguousarray(array).tobytes(), digest_size=8).hexdigest() + str(array.shape)
