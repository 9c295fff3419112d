"""The runs of a comparison: what each is, where it is kept, and how it is trained."""

from __future__ import annotations

import contextlib
import dataclasses
import hashlib
import re
import traceback
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from torch import nn

from understudy.comparison.result import ALL_LABELS, FORMAT, Run
from understudy.comparison.shared_data import SharedData
from understudy.comparison.single_run import Figures, run_one
from understudy.core.budget import Budget, format_seconds
from understudy.core.config import to_table
from understudy.core.errors import Interrupted, RunFolderError, UserError
from understudy.core.files import check_format, read_json, write_json
from understudy.experiment.job import Job
from understudy.models.nets import Execution

_RECORD = "run.json"
# File systems allow 255 bytes; 80 characters stay below that in any script, digest included.
_MAX_NAME = 80


@dataclass(frozen=True)
class Task:
    """One run to train, as a worker process gets it.

    Args:
        root: The comparison's folder.
        folder: The run's, below it.
        method: What the variant is called.
        own: Settings of the variant beside its method, as plain values.
        reveal: Whether it trains on all labels that were hidden.
        module: The user's own network, for a run in this process.
    """

    images: SharedData
    root: Path
    folder: str
    method: str
    job: Job
    execution: Execution
    own: Mapping[str, Any] = field(default_factory=dict)
    reveal: bool = False
    module: nn.Module | None = None

    @property
    def num_labels(self) -> int:
        """Labels kept; 0 is all."""
        return 0 if self.reveal else self.job.num_labels

    @property
    def settings(self) -> dict[str, Any]:
        """What a record must agree in to be of this run, beside what all runs of the folder share."""
        return {"method_settings": to_table(self.job.method), "variant_settings": dict(self.own)}

    def run(self, figures: Figures | None = None, error: str = "") -> Run:
        """The run with its figures or its error."""
        return Run(self.method, self.num_labels, self.job.seed, self.folder, figures, error)


@dataclass(frozen=True)
class RunPlan:
    """The runs that a comparison is about to train.

    Args:
        methods: Their names in the report, supervised first.
        num_labels: Labels kept; 0 is all that are given.
        finished: Runs that the folder held already.
        left: Those to train, in order.
        upper_bound: Whether supervised learning is also trained on all labels, once per seed.
        noun: What the report calls the methods.
    """

    methods: tuple[str, ...]
    num_labels: tuple[int, ...]
    seeds: tuple[int, ...]
    budget: Budget
    jobs: int
    finished: tuple[Run, ...]
    left: tuple[Task, ...]
    upper_bound: bool = False
    noun: str = "methods"

    @property
    def seconds(self) -> float | None:
        """Expected wall seconds of what is left to train; None where the budget is a number of steps."""
        each = self.budget.wall_s or self.budget.cpu_s
        if each is None:
            return None
        return each * -(-len(self.left) // self.jobs)

    def __str__(self) -> str:
        grid = [
            f"{len(self.methods)} {self.noun} with supervised",
            *([f"{len(self.num_labels)} numbers of labels"] if len(self.num_labels) > 1 else []),
            f"{len(self.seeds)} seed{'s' if len(self.seeds) > 1 else ''}",
        ]
        total = len(self.left) + len(self.finished)
        also = f", and {ALL_LABELS} x {grid[-1]}" if self.upper_bound else ""
        text = f"{' x '.join(grid)}{also}: {total} runs of {self.budget} each, {self.jobs} at a time"
        if self.finished:
            text += f"; {len(self.finished)} are finished, {len(self.left)} are left"
        if len(self.left) and self.seconds is not None:
            text += f"; about {format_seconds(self.seconds)}"
        return text + "."


def run_task(task: Task) -> Run:
    """Train the run of a task and record it in its folder; a run that fails says why.

    Raises:
        Interrupted: It was asked to stop; everything is saved.
    """
    place = task.root / task.folder
    try:
        figures, _ = run_one(
            task.images.open(),
            task.job,
            folder=place,
            execution=task.execution,
            reveal=task.reveal,
            module=task.module,
        )
    except Interrupted:
        raise
    except UserError as error:
        return task.run(error=str(error))
    except Exception as error:  # raised by a method, which must not end the other runs
        with contextlib.suppress(OSError):
            (place / "error.txt").write_text(traceback.format_exc(), encoding="utf-8")
        return task.run(error=f"{type(error).__name__}: {error} (see {task.folder}/error.txt)")
    head = {"format": FORMAT, "method": task.method, "num_labels": task.num_labels, "seed": task.job.seed}
    write_json(place / _RECORD, {**head, **task.settings, "figures": dataclasses.asdict(figures)})
    return task.run(figures)


def run_folder(num_labels: int, seed: int, slug: str) -> str:
    """Where a run is kept below the comparison's folder."""
    return f"runs/{f'{num_labels}-labels' if num_labels else 'labels-given'}/seed-{seed}/{slug}"


def recorded_run(task: Task) -> Run | None:
    """The finished run that the folder of a task holds, if it does.

    Raises:
        RunFolderError: It had other settings, as another version's defaults may be, or it is damaged.
    """
    path = task.root / task.folder / _RECORD
    if not path.exists():
        return None
    record = read_json(path)
    check_format(record, path.parent)
    different: set[str] = set()
    for part, wanted in task.settings.items():
        there = record.get(part, {})  # variants came after the first records
        different |= {name for name in {*wanted, *there} if wanted.get(name) != there.get(name)}
    if different:
        raise RunFolderError(
            f"{path.parent} holds a run of {task.method} with another {' and '.join(sorted(different))}; "
            "choose another folder"
        )
    return task.run(Figures(**record["figures"]))


def lost_run(task: Task, reason: str) -> Run:
    """The run of a task whose process died again and again."""
    return task.run(error=reason)


def folder_name(label: str) -> str:
    """The label as a folder's name, cut short and made distinct by a digest where it is long."""
    text = re.sub(r"[^\w.=-]+", "-", label).strip("-")
    digest = hashlib.blake2b(label.encode(), digest_size=4).hexdigest()
    return text if len(text) <= _MAX_NAME else f"{text[:_MAX_NAME]}-{digest}"
